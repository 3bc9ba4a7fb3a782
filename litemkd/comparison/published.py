"""Figures that were published, as data. They are quoted, never measured here, and shown apart."""

from __future__ import annotations

from dataclasses import dataclass

LITE_MKD = "Lite-MKD, ACM MM 2023"
QUOTED = (
    "Quoted from the publications named, not measured here; no seeds were printed. In the rows of Lite-MKD "
    "checkpoints were chosen on the test classes. GMACs are what thop counts in a 5-way 5-shot episode, "
    "printed as GFLOPs."
)
ORDER = ("kinetics100", "ucf101", "hmdb51", "ssv2_full")  # of data sets, in published tables


@dataclass(frozen=True)
class Published:
    """A published row.

    Attributes:
        accuracy: per cent in 5-way episodes, by data set and shots.
        distilled: `yes` or `no`; `–` for methods without a teacher.
        gmacs: of a 5-way 5-shot episode, as thop counts; None where none was printed.
        source: who printed the figures.
    """

    method: str
    backbone: str
    head: str
    distilled: str
    accuracy: dict[tuple[str, int], float]
    source: str
    gmacs: float | None = None


def _five(kinetics: float, ucf: float | None = None, hmdb: float | None = None) -> dict[tuple[str, int], float]:
    return {
        (name, 5): value for name, value in zip(ORDER, (kinetics, ucf, hmdb), strict=False) if value is not None
    }


def _both(*pairs: tuple[float, float]) -> dict[tuple[str, int], float]:
    return {
        (name, shot): value
        for name, pair in zip(ORDER, pairs, strict=True)
        for shot, value in zip((1, 5), pair, strict=True)
    }


def _student(
    backbone: str, labels: tuple[float, ...], distilled: tuple[float, ...], gmacs: float | None
) -> tuple[Published, Published]:
    return (
        Published("student, labels only", backbone, "trx", "no", _five(*labels), LITE_MKD),
        Published("Lite-MKD", backbone, "trx", "yes", _five(*distilled), LITE_MKD, gmacs),
    )


PUBLISHED = (
    *_student("resnet18", (80.50, 92.28, 70.60), (84.04, 94.78, 74.65), 454.0),
    *_student("mobilenet_v3_small", (74.32, 88.18, 64.47), (80.27, 93.31, 71.72), None),
    *_student("mobilenet_v3_large", (78.55, 90.34, 65.85), (83.25, 94.76, 73.95), 72.6),
    Published("TRX", "resnet50", "trx", "–", _five(85.9, 96.1, 75.6), "TRX, CVPR 2021", 1023.3),
    Published("STRM", "resnet50", "strm", "–", _five(86.7, 96.8, 77.3), "STRM, CVPR 2022"),
    Published("OTAM", "resnet50", "otam", "–", _five(85.8), "OTAM, CVPR 2020"),
    *(
        Published(method, backbone, "–", "–", _both(*pairs), method)
        for method, backbone, *pairs in (
            ("CLIP-FSAR", "ViT-B", (89.7, 95.0), (96.6, 99.0), (75.8, 87.7), (61.9, 72.1)),
            ("MoLo", "resnet50", (74.0, 85.6), (86.0, 95.5), (60.8, 77.4), (56.6, 70.6)),
            ("HyRSM", "resnet50", (73.7, 86.1), (83.9, 94.7), (60.3, 76.0), (54.3, 69.0)),
        )
    ),
)
