"""D2M, the distillation of Lite-MKD (ACM MM 2023): its terms and their weighted sum.

    loss = kd    x KL_T(distill logits, teacher logits)
         + support x (1 - Pearson of rows of softmaxed support distances, student's label branch and teacher)
         + ce    x CE(label logits)
         + feature x (mean squared error of the distill branch's guess of the teacher's frame features)

The published weights are 1, 0.5, 1/16 and 0 with T = 4. Squared distances of wide features are so large that
their softmax is one-hot and the gradient of the published support term is zero; `support_form="tempered"`
standardises each row of distances first, so the term compares their pattern whatever their scale and its
gradient stays alive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from litemkd.models.heads import class_prototypes

EPSILON = 1e-8


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all queries of -log softmax(logits)[label]: (B, Q, W), (B, Q) -> ()."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def standardise(rows: Tensor) -> Tensor:
    """Rows with mean 0 and standard deviation 1 over the last axis."""
    return (rows - rows.mean(-1, keepdim=True)) / (rows.std(-1, correction=0, keepdim=True) + EPSILON)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Hinton's distillation, T² KL(teacher || student) of softmaxed rows at temperature T, mean over rows.

    Args:
        student: (..., W) logits.
        teacher: (..., W) logits; a constant.
        temperature: T.
    """
    goal = F.log_softmax(teacher.detach() / temperature, -1)
    seen = F.log_softmax(student / temperature, -1)
    return temperature**2 * (goal.exp() * (goal - seen)).sum(-1).mean()


def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - mean Pearson correlation of softmaxed rows (..., N); the teacher is a constant."""
    a, b = student.softmax(-1), teacher.detach().softmax(-1)
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = a.norm(dim=-1) * b.norm(dim=-1) + EPSILON
    return 1 - ((a * b).sum(-1) / scale).mean()


def support_distances(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """How the classes of an episode lie to one another.

    Args:
        features: (B, S, T, D) of the supports.
        labels: (B, S) their classes, in any order, unequal shots allowed.
        way: W.

    Returns:
        (B, W, W - 1): minus the squared distance between class prototypes divided by T, without the diagonal,
        the other classes in ascending order.
    """
    prototypes = class_prototypes(features, labels, way)  # (B, W, T, D)
    frames = prototypes.shape[2]
    flat = prototypes.flatten(2)
    square = (flat[:, :, None] - flat[:, None]).pow(2).sum(-1) / frames  # (B, W, W)
    others = ~torch.eye(way, dtype=torch.bool, device=features.device)
    return -square[:, others].view(-1, way, way - 1)


def unexplained(projected: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of features (V, T, D) to standardised ones: 1 for a constant guess, 0 when equal."""
    return F.mse_loss(projected, teacher.detach())


@dataclass(frozen=True)
class D2M:
    """Weights and forms of the terms. The defaults are the published ones.

    Attributes:
        ce: weight of the cross-entropy of the label branch.
        ce_distill: weight of the cross-entropy of the distill branch.
        kd: weight of the distillation of the teacher's logits into the distill branch.
        support: weight of the support term.
        feature: weight of the regression of the teacher's frame features from the distill branch.
        temperature: T of the distillation.
        standardise_logits: standardise the logits of student and teacher before the temperature, so that T
            means the same for logits of any scale (logit standardisation, CVPR 2024).
        support_form: `published`, or `tempered`: rows standardised and divided by `support_temperature`.
        support_temperature: T of the tempered support term.
    """

    ce: float = 1 / 16
    ce_distill: float = 0.0
    kd: float = 1.0
    support: float = 0.5
    feature: float = 0.0
    temperature: float = 4.0
    standardise_logits: bool = False
    support_form: str = "published"
    support_temperature: float = 1.0

    @property
    def uses_teacher(self) -> bool:
        """Whether any term needs the teacher."""
        return self.kd != 0 or self.support != 0 or self.feature != 0

    def kd_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Distillation of logits (B, Q, W)."""
        if self.standardise_logits:
            student, teacher = standardise(student), standardise(teacher)
        return distillation(student, teacher, self.temperature)

    def support_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Likeness of support distances (B, W, W - 1)."""
        if self.support_form == "tempered":
            student = standardise(student) / self.support_temperature
            teacher = standardise(teacher) / self.support_temperature
        return pearson_distance(student, teacher)


@dataclass(frozen=True)
class Terms:
    """The named terms of a step, unweighted, and their weighted sum. Absent terms are None."""

    loss: Tensor
    ce: Tensor
    kd: Tensor | None = None
    support: Tensor | None = None
    feature: Tensor | None = None

    def as_metrics(self) -> dict[str, float]:
        """Values by metric name."""
        named = {"train/loss": self.loss, "train/loss_ce": self.ce, "train/loss_kd": self.kd}
        named |= {"train/loss_support": self.support, "train/loss_feature": self.feature}
        return {name: float(value.detach()) for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Knowledge:
    """What the teacher says of a batch of episodes.

    Attributes:
        logits: (B, Q, W).
        support: (B, W, W - 1) support distances.
        features: (V, T, D) frame features of the videos in use, each of the D numbers standardised over all
            train frames.
    """

    logits: Tensor
    support: Tensor
    features: Tensor


def d2m_loss(
    spec: D2M,
    logits: dict[str, Tensor],
    targets: Tensor,
    support: Tensor | None = None,
    knowledge: Knowledge | None = None,
    projected: Tensor | None = None,
) -> Terms:
    """The loss of a batch of episodes.

    Args:
        spec: weights and forms.
        logits: (B, Q, W) of the `label` branch and, where there is one, of the `distill` branch.
        targets: (B, Q) classes of the queries.
        support: (B, W, W - 1) support distances of the student's label branch; needed for the support term.
        knowledge: the teacher's; needed for the terms that use it.
        projected: (V, T, D) guess of the teacher's features; needed for the feature term.
    """
    ce = cross_entropy(logits["label"], targets)
    loss = spec.ce * ce
    if spec.ce_distill and "distill" in logits:
        loss = loss + spec.ce_distill * cross_entropy(logits["distill"], targets)
    kd = sup = feature = None
    if knowledge is not None:
        if spec.kd:
            kd = spec.kd_term(logits["distill"], knowledge.logits)
            loss = loss + spec.kd * kd
        if spec.support and support is not None:
            sup = spec.support_term(support, knowledge.support)
            loss = loss + spec.support * sup
        if spec.feature and projected is not None:
            feature = unexplained(projected, knowledge.features)
            loss = loss + spec.feature * feature
    return Terms(loss, ce, kd, sup, feature)
