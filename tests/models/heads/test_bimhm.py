"""Bi-MHM against plain loops in all its forms, and by hand."""

import functools
import math

import pytest
import torch

from litemkd.models.heads import BiMHM
from tests.models.heads.slow import LABELS, WAY, cosine_distances, episodes, mean_over_supports

EPS = [0.0, 0.01]  # HyRSM, CVPR 2022; MoLo, CVPR 2023


def likeness(query, support, eps):
    """Minus: every query frame's nearest support frame, and every support frame's nearest query frame."""
    d = cosine_distances(query, support, eps)
    nearest = sum(min(row) for row in d)
    for m in range(len(d[0])):
        nearest += min(row[m] for row in d)
    return -nearest


def to_mean_sequence(support, labels, query, way, eps):
    logits = torch.zeros(len(query), query.shape[1], way, dtype=torch.float64)
    for b in range(len(query)):
        for c in range(way):
            own = [x for x, label in zip(support[b], labels[b].tolist(), strict=True) if label == c]
            sequence = torch.stack([sum(x[t] for x in own) / len(own) for t in range(support.shape[2])])
            for q, asked in enumerate(query[b]):
                logits[b, q, c] = likeness(asked, sequence, eps)
    return logits


def to_each(support, labels, query, way, eps):
    return mean_over_supports(support, labels, query, way, functools.partial(likeness, eps=eps))


SLOW = {"mean": to_mean_sequence, "each": to_each}


@pytest.mark.parametrize("scale", [1.0, 0.03])  # short features tell the forms apart
@pytest.mark.parametrize("eps", EPS)
@pytest.mark.parametrize("frames", [8, 4, 1])
@pytest.mark.parametrize("form", SLOW)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, form, frames, eps, scale):
    support, given, query = episodes(labels, frames, 5)
    episode = support * scale, given, query * scale
    found = BiMHM(5, frames=frames, support=form, eps=eps)(*episode, WAY)
    torch.testing.assert_close(found, SLOW[form](*episode, WAY, eps), rtol=1e-9, atol=1e-11)


def test_the_mean_support_sequence_and_the_plain_cosine_are_the_default():
    head = BiMHM(5)
    episode = episodes(LABELS["unequal shots"], 8, 5)
    assert torch.equal(head(*episode, WAY), BiMHM(5, frames=8, support="mean", eps=0)(*episode, WAY))
    assert not torch.equal(head(*episode, WAY), BiMHM(5, support="each")(*episode, WAY))
    assert not list(head.parameters())


@pytest.mark.parametrize("form", SLOW)
def test_the_plain_cosine_does_not_feel_how_long_features_are(form):
    support, labels, query = episodes(LABELS["unequal shots"], 4, 5)
    plain, added = (BiMHM(5, frames=4, support=form, eps=eps) for eps in EPS)
    for scale in (1e-30, 1e-3, 1e6):
        torch.testing.assert_close(
            plain(support * scale, labels, query * scale, WAY), plain(support, labels, query, WAY)
        )
    short = added(support * 1e-3, labels, query * 1e-3, WAY)
    torch.testing.assert_close(short, torch.full_like(short, -8.0), rtol=1e-2, atol=0)  # all lie 1 apart


def test_single_precision_has_no_frame_too_short():
    """The product of the two lengths would be nothing."""
    frames = torch.eye(3)[None, None] * 1e-18
    logits = BiMHM(3, frames=3)(frames, torch.tensor([[0]]), frames * 1e-1, 1)
    torch.testing.assert_close(logits, torch.zeros(1, 1, 1), rtol=0, atol=1e-6)


def test_one_shot_is_the_same_in_both_forms():
    episode = episodes(LABELS["one shot"], 4, 5)
    one, other = (BiMHM(5, frames=4, support=form)(*episode, WAY) for form in SLOW)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


@pytest.mark.parametrize("eps", EPS)
def test_two_frames_by_hand(eps):
    """Query x, y; supports of class 0: x, x and y, y; of class 1: x, y. Equal frames lie a apart, others 1.

    Of length 1, a = 1 - 1 / (1 · 1 + eps).
    Against x, x: rows [a, a], [1, 1]; nearest to the query's frames a + 1, to the support's a + a: 1 + 3a.
    Against y, y: the same. So 1 + 3a for each of the two, and as their mean.
    Against x, y: rows [a, 1], [1, a]: 4a.
    The mean sequence of class 0 is (x + y) / 2 twice, of length r = √½: every distance is
    1 - ½ / (r + eps) and there are four.
    """
    a = eps / (1 + eps)
    x, y = torch.eye(2, dtype=torch.float64)
    support = torch.stack([torch.stack(frames) for frames in ((x, x), (x, y), (y, y))])[None]
    episode = support, torch.tensor([[0, 1, 0]]), torch.stack([x, y])[None, None], 2
    each = BiMHM(2, frames=2, support="each", eps=eps)(*episode)[0, 0].tolist()
    assert each == pytest.approx([-(1 + 3 * a), -4 * a], rel=1e-12, abs=1e-12)
    mean = BiMHM(2, frames=2, support="mean", eps=eps)(*episode)[0, 0].tolist()
    assert mean == pytest.approx([-4 * (1 - 0.5 / (math.sqrt(0.5) + eps)), -4 * a], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("eps", EPS)
def test_three_frames_in_any_order_by_hand(eps):
    """As sets x, y, z and z, x, y are one: 6a. x, y, z and x, x, y: z is 1 away, the other five a: 1 + 5a."""
    a = eps / (1 + eps)
    x, y, z = torch.eye(3, dtype=torch.float64)
    support = torch.stack([torch.stack([z, x, y]), torch.stack([x, x, y])])[None]
    query = torch.stack([x, y, z])[None, None]
    for form in SLOW:
        logits = BiMHM(3, frames=3, support=form, eps=eps)(support, torch.tensor([[0, 1]]), query, 2)
        assert logits[0, 0].tolist() == pytest.approx([-6 * a, -(1 + 5 * a)], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("form", SLOW)
def test_the_order_of_frames_does_not_matter(form):
    support, labels, query = episodes(LABELS["unequal shots"], 4, 5)
    order = torch.tensor([2, 0, 3, 1])
    head = BiMHM(5, frames=4, support=form)
    shuffled = head(support[:, :, order], labels, query[:, :, order.flip(0)], WAY)
    torch.testing.assert_close(shuffled, head(support, labels, query, WAY), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("eps", EPS)
@pytest.mark.parametrize("form", SLOW)
def test_gradients_are_those_of_the_values(form, eps):
    """At random features, where no two distances tie."""
    support, labels, query = episodes([[1, 0, 1]], 3, 2, queries=2)
    head = BiMHM(2, frames=3, support=form, eps=eps)
    inputs = support.requires_grad_(), query.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, q: head(s, labels, q, 2), inputs)


@pytest.mark.parametrize("eps", EPS)
@pytest.mark.parametrize("form", SLOW)
def test_features_of_zeros_do_no_harm(form, eps):
    """A frame of zeros lies 1 from every frame, so two sums of T ones."""
    support, labels, query = episodes(LABELS["unequal shots"], 4, 5)
    query[:, 0] = 0
    support[:, 1] = 0
    expected = SLOW[form](support, labels, query, WAY, eps)
    support.requires_grad_()
    query.requires_grad_()
    logits = BiMHM(5, frames=4, support=form, eps=eps)(support, labels, query, WAY)
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(logits[:, 0].detach(), torch.full((2, WAY), -8.0, dtype=torch.float64))
    logits.sum().backward()
    assert torch.isfinite(support.grad).all()
    assert torch.isfinite(query.grad).all()
