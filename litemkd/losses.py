"""D2M, the distillation of Lite-MKD (ACM MM 2023): its terms and their weighted sum.

    loss = kd       x how far the distill branch's logits are from the teacher's
         + support  x how differently student and teacher lay the classes of an episode out
         + ce       x CE(label logits) + ce_distill x CE(distill logits)
         + relation x how differently the classes' prototypes relate for each query
         + feature  x squared error of the distill branch's frame features, or of a guess made from them

The paper's weights are 1, 0.5, 1/16 and no others, KL at T = 4 and Pearson. `litemkd.presets` has every
published combination by name. Squared distances of wide features are so large that their softmax is one-hot and
the gradient of the published support term is zero; `support_form="tempered"` standardises each row of distances
first, so the term compares their pattern whatever their scale and its gradient stays alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from litemkd.models.heads import FRAME, class_prototypes
from litemkd.models.student import DISTILL, LABEL

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


def decoupled_distillation(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, target: float, others: float
) -> Tensor:
    """Decoupled distillation (Zhao et al., CVPR 2022): the target's share and the other classes apart.

    KL falls apart into a part for target against the rest and one for how the rest is divided, the latter
    weighed by how unsure the teacher is. Weights of their own let a sure teacher teach the second part too.

    Args:
        student: (..., W) logits.
        teacher: (..., W) logits; a constant.
        labels: (...) targets.
        temperature: T.
        target: weight of the first part.
        others: weight of the second part.
    """
    is_target = F.one_hot(labels, student.shape[-1]).bool()

    def divided(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log shares of target and rest (..., 2), and of the others among themselves (..., W - 1)."""
        shares = (logits / temperature).log_softmax(-1)
        rest = shares[~is_target].view(*shares.shape[:-1], -1)
        pair = torch.stack([shares[is_target].view(shares.shape[:-1]), rest.logsumexp(-1)], -1)
        return pair, rest.log_softmax(-1)

    (seen_pair, seen_rest), (goal_pair, goal_rest) = divided(student), divided(teacher.detach())
    parts = [
        (goal.exp() * (goal - seen)).sum(-1).mean()
        for goal, seen in ((goal_pair, seen_pair), (goal_rest, seen_rest))
    ]
    return temperature**2 * (target * parts[0] + others * parts[1])


def dist_distance(student: Tensor, teacher: Tensor, temperature: float, inter: float, intra: float) -> Tensor:
    """DIST (Huang et al., NeurIPS 2022): correlation in place of equality, between classes and between queries.

    Args:
        student: (B, Q, W) logits.
        teacher: (B, Q, W) logits; a constant.
        temperature: T; the result is multiplied by T².
        inter: weight of 1 - Pearson of each query's probabilities over the classes.
        intra: weight of 1 - Pearson of each class's probabilities over the queries of its episode.
    """
    a, b = (student / temperature).softmax(-1), (teacher.detach() / temperature).softmax(-1)
    total = inter * uncorrelated(a, b) + intra * uncorrelated(a.transpose(-2, -1), b.transpose(-2, -1))
    return temperature**2 * total


def uncorrelated(a: Tensor, b: Tensor) -> Tensor:
    """1 - mean Pearson correlation of rows (..., N)."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = a.norm(dim=-1) * b.norm(dim=-1) + EPSILON
    return 1 - ((a * b).sum(-1) / scale).mean()


def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - mean Pearson correlation of softmaxed rows (..., N); the teacher is a constant."""
    return uncorrelated(student.softmax(-1), teacher.detach().softmax(-1))


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
        kd: weight of the teacher's logits, taught to the distill branch; to the only one where there is one.
        support: weight of the support term.
        relation: weight of how the classes' prototypes relate for each query, KL at T of (W²) cosines.
        feature: weight of the teacher's frame features.
        temperature: T of all KL terms, of `decoupled` and of `dist`.
        kd_form: `kl` (Hinton), `pearson` (of probabilities), `decoupled` or `dist`.
        kd_parts: which parts of a head's judgement the teacher teaches: `all` by their weights, or `frame`.
        standardise_logits: standardise the logits of student and teacher before the temperature, so that T
            means the same for logits of any scale (logit standardisation, CVPR 2024).
        decoupled_target, decoupled_others: weights of the two parts of `decoupled`.
        dist_inter, dist_intra: weights of the two parts of `dist`.
        support_form: `published` (Pearson of softmaxed rows), `tempered` (rows standardised and divided by
            `support_temperature` first), or `kl` (at `temperature`).
        support_branch: whose features lay the classes out, `label`, `distill` or `both` (added up).
        support_temperature: T of the tempered support term.
        feature_form: `projected`: a learned linear guess of the standardised features; `plain`: the distill
            branch's own features against the teacher's, which must be as wide.
        focal: weigh the terms by w = 1 - exp(-CE / CE'): of the label branch and the distill branch
            (`branches`), of student and teacher (`teacher`), or not (`none`). w is a constant for the gradient.
        focal_kd: the kd term is multiplied by (focal_kd + w).
        focal_rest: the others are multiplied by (focal_rest - w); None leaves them.
    """

    ce: float = 1 / 16
    ce_distill: float = 0.0
    kd: float = 1.0
    support: float = 0.5
    relation: float = 0.0
    feature: float = 0.0
    temperature: float = 4.0
    kd_form: str = "kl"
    kd_parts: str = "all"
    standardise_logits: bool = False
    decoupled_target: float = 1.0
    decoupled_others: float = 8.0
    dist_inter: float = 1.0
    dist_intra: float = 1.0
    support_form: str = "published"
    support_branch: str = LABEL
    support_temperature: float = 1.0
    feature_form: str = "projected"
    focal: str = "none"
    focal_kd: float = 0.0
    focal_rest: float | None = None

    def supporting(self, branches: Collection[str]) -> list[str]:
        """Those of a student's branches whose support distances count: its only one where there is one."""
        wanted = (LABEL, DISTILL) if self.support_branch == "both" else (self.support_branch,)
        return [branch for branch in wanted if branch in branches] or [LABEL]

    def kd_term(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Distillation of logits (B, Q, W); targets (B, Q)."""
        if self.standardise_logits:
            student, teacher = standardise(student), standardise(teacher)
        if self.kd_form == "pearson":
            return pearson_distance(student, teacher)
        if self.kd_form == "decoupled":
            weights = self.decoupled_target, self.decoupled_others
            return decoupled_distillation(student, teacher, targets, self.temperature, *weights)
        if self.kd_form == "dist":
            return dist_distance(student, teacher, self.temperature, self.dist_inter, self.dist_intra)
        return distillation(student, teacher, self.temperature)

    def support_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Likeness of support distances (B, W, W - 1)."""
        if self.support_form == "kl":
            return distillation(student, teacher, self.temperature)
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
    relation: Tensor | None = None
    feature: Tensor | None = None
    focal: float | None = None  # w

    def as_metrics(self) -> dict[str, float]:
        """Values by metric name."""
        named = {"train/loss": self.loss, "train/loss_ce": self.ce, "train/loss_kd": self.kd}
        named |= {"train/loss_support": self.support, "train/loss_relation": self.relation}
        named |= {"train/loss_feature": self.feature}
        values = {name: float(value.detach()) for name, value in named.items() if value is not None}
        return values if self.focal is None else values | {"train/focal_weight": self.focal}


@dataclass(frozen=True)
class Knowledge:
    """What the teacher says of a batch of episodes.

    Attributes:
        logits: (B, Q, W).
        support: (B, W, W - 1) support distances.
        features: (V, T, D) frame features of the videos in use; for `feature_form="projected"` each of the D
            numbers standardised over all train frames.
        relation: (B, Q, W²) cosines of the classes' prototypes; None when no term needs them.
    """

    logits: Tensor
    support: Tensor
    features: Tensor
    relation: Tensor | None = None


def d2m_loss(
    spec: D2M,
    logits: Mapping[str, Mapping[str, Tensor]],
    targets: Tensor,
    *,
    parts: Mapping[str, float] | None = None,
    support: Mapping[str, Tensor] | None = None,
    knowledge: Knowledge | None = None,
    projected: Tensor | None = None,
    relation: Tensor | None = None,
) -> Terms:
    """The loss of a batch of episodes.

    Args:
        spec: weights and forms.
        logits: (B, Q, W) by branch, `label` and perhaps `distill`, and by part of the head's judgement. With
            one branch every term acts on it.
        targets: (B, Q) classes of the queries.
        parts: weight of each part; the frame part alone when not given.
        support: (B, W, W - 1) support distances by branch; needed for the support term.
        knowledge: the teacher's; needed for the terms that use it.
        projected: (V, T, D) the student's features to hold against the teacher's; needed for the feature term.
        relation: (B, Q, W²) of the student; needed for the relation term.
    """
    parts = parts or {FRAME: 1.0}
    taught = taught_branch(logits)

    def over_parts(branch: str, term: Callable[[Tensor], Tensor], names: Mapping[str, float]) -> Tensor:
        first, *others = (weight * term(logits[branch][part]) for part, weight in names.items())
        return sum(others, first)

    def labels_of(branch: str) -> Tensor:
        return over_parts(branch, lambda z: cross_entropy(z, targets), parts)

    ce = labels_of(LABEL)
    rest = spec.ce * ce
    if spec.ce_distill and DISTILL in logits:
        rest = rest + spec.ce_distill * labels_of(DISTILL)
    if knowledge is None:
        return Terms(rest, ce)
    kd = sup = related = feature = w = None
    if spec.kd:
        names = parts if spec.kd_parts == "all" else {FRAME: 1.0}
        kd = over_parts(taught, lambda z: spec.kd_term(z, knowledge.logits, targets), names)
    if spec.support and support is not None:
        distances = [support[branch] for branch in spec.supporting(logits)]
        sup = torch.stack([spec.support_term(rows, knowledge.support) for rows in distances]).sum()
        rest = rest + spec.support * sup
    if spec.relation and relation is not None and knowledge.relation is not None:
        related = distillation(relation, knowledge.relation, spec.temperature)
        rest = rest + spec.relation * related
    if spec.feature and projected is not None:
        feature = unexplained(projected, knowledge.features)
        rest = rest + spec.feature * feature
    if spec.focal != "none":
        behind, ahead = logits[LABEL][FRAME], logits[taught][FRAME]
        w = focal_weight(behind, knowledge.logits if spec.focal == "teacher" else ahead, targets)
        rest = rest if spec.focal_rest is None else (spec.focal_rest - w) * rest
    loss = rest
    if kd is not None:
        loss = loss + spec.kd * (kd if w is None else (spec.focal_kd + w) * kd)
    return Terms(loss, ce, kd, sup, related, feature, w)


def taught_branch(branches: Collection[str]) -> str:
    """The branch of a student that learns from the teacher: its only one where there is one."""
    return DISTILL if DISTILL in branches else LABEL


def focal_weight(behind: Tensor, ahead: Tensor, targets: Tensor) -> float:
    """1 - exp(-CE(behind) / CE(ahead)) of logits (B, Q, W): near 1 where the first has much to learn."""
    with torch.no_grad():
        ratio = cross_entropy(behind, targets) / (cross_entropy(ahead, targets) + EPSILON)
    return 1 - math.exp(-max(float(ratio), 0.0))
