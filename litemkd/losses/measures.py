"""What terms are made of: cross-entropies, divergences and correlations of rows, and support distances."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from litemkd.losses.lesson import Lesson
from litemkd.models.heads import class_prototypes

EPSILON = 1e-8


def added(values: Iterable[Tensor]) -> Tensor:
    """The sum of one value or more, from the first to the last."""
    return functools.reduce(operator.add, values)


def labels_of(lesson: Lesson, branch: str) -> Tensor:
    """Cross-entropy of a branch, added up over the parts of the head's judgement by their weights."""
    return added(weight * cross_entropy(logits, lesson.targets) for weight, logits in lesson.judged(branch))


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
    asked = labels[..., None]
    others_of = torch.arange(student.shape[-1] - 1, device=labels.device)
    others_of = others_of + (others_of >= asked)  # (..., W - 1), ascending

    def divided(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log shares of target and rest (..., 2), and of the others among themselves (..., W - 1)."""
        shares = (logits / temperature).log_softmax(-1)
        rest = shares.gather(-1, others_of)
        pair = torch.stack([shares.gather(-1, asked)[..., 0], rest.logsumexp(-1)], -1)
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
    place = torch.arange(way, device=features.device)
    others = place[:-1] + (place[:-1] >= place[:, None])  # (W, W - 1)
    return -square.gather(-1, others.expand(len(square), -1, -1))


def unexplained(projected: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of features (V, T, D) to standardised ones: 1 for a constant guess, 0 when equal."""
    return F.mse_loss(projected, teacher.detach())
