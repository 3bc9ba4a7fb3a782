"""Figures that were published, as data (`published.yaml`): quoted, never measured here, and shown apart."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LITE_MKD = "Lite-MKD, ACM MM 2023"
QUOTED = (
    "Quoted from the publications named, not measured here; no seeds were printed. In the rows of Lite-MKD "
    "checkpoints were chosen on the test classes. GMACs are what thop counts in a 5-way 5-shot episode, "
    "printed as GFLOPs."
)
ORDER = ("kinetics100", "ucf101", "hmdb51", "ssv2_full", "ssv2_small")  # of data sets, in published tables
WAYS, SHOTS = "5", (1, 5)


@dataclass(frozen=True)
class Published:
    """A published row.

    Attributes:
        accuracy: per cent in 5-way episodes, by data set and shots.
        distilled: `yes` or `no`; `–` for methods without a teacher.
        gmacs: of a 5-way 5-shot episode, as thop counts; None where none was printed.
        source: who printed the figures.
        where: venue and year of the method.
        trust: how far the figures are to be trusted, a letter of `trusts`.
        apart: from papers whose re-runs of others lie far above the methods' own figures.
        run: what trains it here, words after `litemkd` with `{dataset}`; empty where nothing does.
        here: the backbone's name here, where it is another.
        differs: what is not as published in that.
        why: nothing does.
    """

    method: str
    backbone: str
    head: str
    distilled: str
    accuracy: dict[tuple[str, int], float]
    source: str
    gmacs: float | None = None
    where: str = ""
    trust: str = ""
    apart: bool = False
    run: str = ""
    here: str = ""
    differs: str = ""
    why: str = "no such method"

    @property
    def own_backbone(self) -> str:
        """The backbone's name in runs here."""
        return self.here or self.backbone

    def command(self, dataset: str, shot: int) -> str:
        """What trains it here on a data set, to be tested with a number of shots; empty where nothing does."""
        if not self.run:
            return ""
        shots = "" if shot != 1 else ' --set episode.shot=1 --set "evaluation.shots=[1]"'
        return f"litemkd {self.run.format(dataset=dataset)}{shots}"

    def quote(self, column: tuple[str, int]) -> str:
        """A figure with the decimals that were printed; – where there is none."""
        value = self.accuracy.get(column)
        return "–" if value is None else f"{value:.{2 if self.source == LITE_MKD else 1}f}"


@functools.cache
def facts() -> Mapping[str, Any]:
    """The file."""
    text = Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def _row(about: Mapping[str, Any]) -> Published:
    more = {
        key: about[key]
        for key in ("gmacs", "where", "trust", "apart", "run", "here", "differs", "why")
        if key in about
    }
    return Published(
        about["method"],
        about["backbone"],
        about.get("head", "–"),
        about.get("distilled", "–"),
        {
            (dataset, shot): value
            for dataset, values in about["accuracy"].items()
            for shot, value in zip(SHOTS, values, strict=True)
            if value is not None
        },
        about.get("source") or f"{about['method']}, {about['where']}",
        **more,
    )


PUBLISHED = tuple(_row(about) for about in facts()["rows"])
