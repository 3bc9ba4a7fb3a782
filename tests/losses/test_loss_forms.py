"""The other forms of distillation against their papers' formulas in plain loops.

Decoupled (Zhao et al., CVPR 2022) weighs the target class and the others apart; DIST (Huang et al., NeurIPS
2022) asks for the same ranking in rows and in columns; logit standardisation (Sun et al., CVPR 2024) makes the
temperature mean the same for logits of any scale.
"""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from litemkd.losses import D2M
from tests.lessons import Knowledge, d2m_loss

B, Q, W = 2, 7, 5


def softmax(row, temperature=1.0):
    powers = [math.exp((value - max(row)) / temperature) for value in row]
    return [power / math.fsum(powers) for power in powers]


def divergence(teacher, student):
    """KL(teacher || student) of two distributions."""
    return math.fsum(t * (math.log(t) - math.log(s)) for t, s in zip(teacher, student, strict=True))


def decoupled_row(student, teacher, target, temperature):
    """TCKD and NCKD of one query, and the teacher's probability of the target."""
    s, t = softmax(student, temperature), softmax(teacher, temperature)
    others = [c for c in range(len(s)) if c != target]
    binary = [[row[target], math.fsum(row[c] for c in others)] for row in (t, s)]
    rest = [[row[c] / math.fsum(row[o] for o in others) for c in others] for row in (t, s)]
    return divergence(*binary), divergence(*rest), t[target]


def decoupled(student, teacher, targets, temperature, target_weight, others_weight):
    values = []
    for s, t, target in zip(rows(student), rows(teacher), targets.flatten().tolist(), strict=True):
        tckd, nckd, _ = decoupled_row(s, t, target, temperature)
        values.append(target_weight * tckd + others_weight * nckd)
    return temperature**2 * math.fsum(values) / len(values)


def pearson(x, y):
    x, y = (np.asarray(v) - np.mean(v) for v in (x, y))
    return (x @ y) / math.sqrt(x @ x) / math.sqrt(y @ y)


def dist(student, teacher, temperature, inter_weight, intra_weight):
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):  # an episode: Q rows, W columns
        s, t = ([softmax(row, temperature) for row in x] for x in (s, t))
        inter = [1 - pearson(a, b) for a, b in zip(s, t, strict=True)]
        intra = [1 - pearson([row[c] for row in s], [row[c] for row in t]) for c in range(len(s[0]))]
        total += inter_weight * sum(inter) / len(inter) + intra_weight * sum(intra) / len(intra)
    return temperature**2 * total / len(student)


def kl(student, teacher, temperature):
    values = [
        divergence(softmax(t, temperature), softmax(s, temperature))
        for s, t in zip(rows(student), rows(teacher), strict=True)
    ]
    return temperature**2 * math.fsum(values) / len(values)


def z(logits):
    """Each row with mean 0 and standard deviation 1."""
    found = [
        [(v - np.mean(row)) / np.sqrt(np.mean((row - np.mean(row)) ** 2)) for v in row] for row in rows(logits)
    ]
    return torch.tensor(np.array(found)).view(logits.shape)


def rows(logits):
    return logits.detach().reshape(-1, logits.shape[-1]).tolist()


def draw(*shape, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(2)]


def targets_of(episodes=B, queries=Q, way=W):
    return torch.randint(0, way, (episodes, queries), generator=torch.Generator().manual_seed(4))


def kd_only(student, teacher, targets, **options):
    """The total where only the distillation of logits counts."""
    empty = torch.zeros(0, dtype=teacher.dtype)
    spec = D2M.of(ce=0.0, ce_distill=0.0, support=0.0, relation=0.0, feature=0.0, kd=1.0, **options)
    logits = {"label": {"frame": torch.zeros_like(student)}, "distill": {"frame": student}}
    return d2m_loss(spec, logits, targets, knowledge=Knowledge(teacher, empty, empty, None)).loss


# Decoupled.


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weights", [(1.0, 8.0), (2.0, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_decoupled(temperature, weights):
    student, teacher = draw(B, Q, W)
    found = kd_only(
        student,
        teacher,
        targets_of(),
        kd_form="decoupled",
        temperature=temperature,
        decoupled_target=weights[0],
        decoupled_others=weights[1],
    )
    assert float(found) == pytest.approx(
        decoupled(student, teacher, targets_of(), temperature, *weights), rel=1e-10
    )


def test_decoupled_defaults_are_the_papers():
    student, teacher = draw(B, Q, W)
    expected = decoupled(student, teacher, targets_of(), 4.0, 1.0, 8.0)
    assert float(kd_only(student, teacher, targets_of(), kd_form="decoupled")) == pytest.approx(
        expected, rel=1e-10
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_is_plain_distillation_taken_apart(temperature):
    """KL = TCKD + (1 - p_t) NCKD, for each query; and so here where p_t is the same for all."""
    student, teacher = draw(B, Q, W)
    for s, t, target in zip(rows(student), rows(teacher), targets_of().flatten().tolist(), strict=True):
        tckd, nckd, sure = decoupled_row(s, t, target, temperature)
        whole = divergence(softmax(t, temperature), softmax(s, temperature))
        assert tckd + (1 - sure) * nckd == pytest.approx(whole, rel=1e-12)
    orders = list(permutations([-1.0, 0.3, 0.9, 2.2]))[: B * Q]
    alike = torch.tensor([[1.7, *order] for order in orders], dtype=torch.float64).view(B, Q, W)
    sure = softmax(rows(alike)[0], temperature)[0]
    found = kd_only(
        student,
        alike,
        torch.zeros(B, Q, dtype=torch.long),
        kd_form="decoupled",
        temperature=temperature,
        decoupled_target=1.0,
        decoupled_others=1 - sure,
    )
    assert float(found) == pytest.approx(kl(student, alike, temperature), rel=1e-10)


def test_decoupled_of_two_ways_has_one_other_class_and_so_nothing_to_say_of_it():
    student, teacher = draw(B, Q, 2)
    targets = targets_of(way=2)
    found = kd_only(student, teacher, targets, kd_form="decoupled", decoupled_others=50.0)
    assert float(found) == pytest.approx(kl(student, teacher, 4.0), rel=1e-10)


# DIST.


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_dist(temperature, weights):
    student, teacher = draw(3, Q, W)
    options = {"dist_inter": weights[0], "dist_intra": weights[1], "temperature": temperature}
    found = kd_only(student, teacher, targets_of(3), kd_form="dist", **options)
    expected = dist(student, teacher, temperature, *weights)
    assert float(found) == pytest.approx(expected, rel=1e-6)  # the guard against equal rows


def test_dist_defaults_weigh_both_alike():
    student, teacher = draw(B, Q, W)
    expected = dist(student, teacher, 4.0, 1.0, 1.0)
    assert float(kd_only(student, teacher, targets_of(), kd_form="dist")) == pytest.approx(expected, rel=1e-6)


def test_columns_of_one_episode_know_nothing_of_another():
    """Other episodes add to the mean and to nothing else."""
    student, teacher = draw(2, Q, W)
    both = kd_only(student, teacher, targets_of(), kd_form="dist")
    alone = [
        kd_only(student[i : i + 1], teacher[i : i + 1], targets_of()[:1], kd_form="dist") for i in range(2)
    ]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2, rtol=1e-9, atol=1e-12)


def test_pearson_form_is_at_temperature_one_whatever_it_is():
    student, teacher = draw(B, Q, W)
    expected = 1 - np.mean(
        [pearson(softmax(s), softmax(t)) for s, t in zip(rows(student), rows(teacher), strict=True)]
    )
    for temperature in (1.0, 4.0):
        found = kd_only(student, teacher, targets_of(), kd_form="pearson", temperature=temperature)
        assert float(found) == pytest.approx(expected, rel=1e-6)


# Standardisation.


@pytest.mark.parametrize("form", ["kl", "decoupled", "dist"])
def test_standardised_logits(form):
    student, teacher = draw(B, Q, W)
    slow = {
        "kl": lambda s, t: kl(s, t, 2.0),
        "decoupled": lambda s, t: decoupled(s, t, targets_of(), 2.0, 1.0, 8.0),
        "dist": lambda s, t: dist(s, t, 2.0, 1.0, 1.0),
    }[form]
    options = {"kd_form": form, "temperature": 2.0, "standardise_logits": True}
    found = kd_only(student, teacher, targets_of(), **options)
    assert float(found) == pytest.approx(slow(z(student), z(teacher)), rel=1e-6)
    elsewhere = kd_only(30 * student + 5, 0.2 * teacher - 100, targets_of(), **options)
    torch.testing.assert_close(elsewhere, found, rtol=1e-5, atol=1e-9)


# What holds for all of them.

FORMS = ["kl", "pearson", "decoupled", "dist"]


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_values(form, standardised):
    student, teacher = draw(2, 3, 4, scale=1.0)
    teacher.requires_grad_()
    targets = targets_of(2, 3, 4)

    def loss(logits):
        return kd_only(logits, teacher, targets, kd_form=form, standardise_logits=standardised)

    assert torch.autograd.gradcheck(loss, (student.clone().requires_grad_(),))
    loss(student.requires_grad_()).backward()
    assert student.grad.abs().max() > 1e-6
    assert teacher.grad is None  # a constant


@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_imitation_costs_nothing_and_any_other_something(form):
    student, teacher = draw(B, Q, W)
    assert abs(float(kd_only(teacher, teacher, targets_of(), kd_form=form))) < 1e-4
    assert float(kd_only(student, teacher, targets_of(), kd_form=form)) > 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", ["huge", "equal", "one query"])
def test_nothing_becomes_infinite(form, case):
    """Logits of a head are minus squared distances, easily in the thousands; or all alike in a dead student."""
    student, teacher = draw(B, 1 if case == "one query" else Q, W)
    if case == "huge":
        student, teacher = 3000 * student, 3000 * teacher
    if case == "equal":
        student = torch.zeros_like(student)
    student = student.float().requires_grad_()
    targets = targets_of(queries=student.shape[1])
    loss = kd_only(student, teacher.float(), targets, kd_form=form)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_parts_that_take_part_in_distillation():
    """`all` weighs the parts as in the head's logits, `frame` leaves the others to their labels."""
    (frame, teacher), (patch, _) = draw(B, Q, W), draw(B, Q, W, seed=1)
    empty = torch.zeros(0)
    for parts, expected in (
        ("all", kl(frame, teacher, 4.0) + 0.1 * kl(patch, teacher, 4.0)),
        ("frame", kl(frame, teacher, 4.0)),
    ):
        spec = D2M.of(ce=0.0, support=0.0, kd=1.0, kd_parts=parts)
        logits = {"label": {"frame": frame, "patch": patch}}
        weights = {"frame": 1.0, "patch": 0.1}
        known = Knowledge(teacher, empty, empty, None)
        found = d2m_loss(spec, logits, targets_of(), parts=weights, knowledge=known).loss
        assert float(found) == pytest.approx(expected, rel=1e-10)


FOCAL = {(False, False): 1 - 1 / math.e, (False, True): 1.0, (True, False): 0.0, (True, True): 0.0}


@pytest.mark.parametrize(("sure", "weight"), FOCAL.items())
@pytest.mark.parametrize("focal", ["branches", "teacher"])
def test_the_focal_weight_by_hand(focal, sure, weight):
    """1 - exp(-CE(x) / (CE(y) + 1e-8)): 1 - 1 / e where both are equally bad, 0 for a perfect x, else 1."""
    targets = torch.tensor([[0, 0, 0]])
    unsure = [
        torch.tensor([[[0.0, *order]] * 3], dtype=torch.float64) for order in ((1, 2, 3, 4), (4, 1, 3, 2))
    ]
    perfect = torch.tensor([[[200.0, 0, 1, 0, 2]] * 3], dtype=torch.float64)
    x, y = (perfect if certain else other for certain, other in zip(sure, unsure, strict=True))
    logits = {"label": {"frame": x}} | ({"distill": {"frame": y}} if focal == "branches" else {})
    teacher = draw(1, 3, W)[0] if focal == "branches" else y
    empty = torch.zeros(0)
    spec = D2M.of(ce=1.0, support=0.0, kd=1.0, focal=focal, focal_kd=0.5, focal_rest=1.5)
    found = d2m_loss(spec, logits, targets, knowledge=Knowledge(teacher, empty, empty, None)).loss
    hard = -np.mean([math.log(softmax(row)[0]) for row in rows(x)])
    soft = kl(y if focal == "branches" else x, teacher, 4.0)
    assert float(found) == pytest.approx((0.5 + weight) * soft + (1.5 - weight) * hard, rel=1e-6, abs=1e-9)
