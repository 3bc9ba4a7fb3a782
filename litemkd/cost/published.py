"""Models of known cost, as papers print it and as thop counts it on the released code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """A model of known cost, in GMACs of one 5-way 5-shot episode with one query of each class.

    Attributes:
        model: what it is, in words.
        backbone: its name.
        branches: linear layers behind the backbone; 0: the head sees the backbone's own features.
        tuples: tuple sizes of TRX.
        printed: what papers print.
        released: what thop counts on the released code.
    """

    model: str
    backbone: str
    branches: int
    tuples: tuple[int, ...]
    printed: float | None
    released: float


# The released TRX keeps ResNet50's average pooling, for which thop counts 0.025 GMACs that are not spent here.
PUBLISHED = (
    PublishedModel("TRX, ResNet50, tuples of 2 and 3", "resnet50", 0, (2, 3), 1023.3, 1023.328),
    PublishedModel("TRX, ResNet50, tuples of 2", "resnet50", 0, (2,), None, 999.54),
    PublishedModel("Lite-MKD student, ResNet18", "resnet18", 2, (2,), 454.0, 454.005),
    PublishedModel("Lite-MKD student, MobileNetV3-large", "mobilenet_v3_large", 2, (2,), 72.6, 72.554),
    PublishedModel("student of one branch, MobileNetV3-large", "mobilenet_v3_large", 1, (2,), None, 64.15),
    PublishedModel("Lite-MKD student, MobileNetV3-small", "mobilenet_v3_small", 2, (2,), None, 31.029),
)
