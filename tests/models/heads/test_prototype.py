"""The prototype baseline against plain loops in both its distances, and by hand."""

import math

import pytest
import torch

from litemkd.models.heads import Prototype
from tests.models.heads.slow import LABELS, WAY, episodes, mean_over_supports


def mean_frame(video):
    return [math.fsum(frame[i] for frame in video.tolist()) / len(video) for i in range(video.shape[1])]


def euclidean(query, support):
    return -math.sqrt(
        math.fsum((x - y) ** 2 for x, y in zip(mean_frame(query), mean_frame(support), strict=True))
    )


def cosine(query, support):
    q, s = mean_frame(query), mean_frame(support)
    product = math.fsum(x * y for x, y in zip(q, s, strict=True))
    return product / math.sqrt(math.fsum(x * x for x in q)) / math.sqrt(math.fsum(y * y for y in s))


SLOW = {"euclidean": euclidean, "cosine": cosine}


def video(*frames):
    return torch.tensor(frames, dtype=torch.float64)


@pytest.mark.parametrize("frames", [8, 3, 1])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, frames):
    episode = episodes(labels, frames, 5)
    far = Prototype(5, frames=frames, distance="euclidean")(*episode, WAY)
    torch.testing.assert_close(far, mean_over_supports(*episode, WAY, euclidean), rtol=1e-9, atol=1e-11)
    alike = Prototype(5, frames=frames, distance="cosine", scale=3.5)(*episode, WAY)
    expected = 3.5 * mean_over_supports(*episode, WAY, cosine)
    torch.testing.assert_close(alike, expected, rtol=1e-9, atol=1e-11)


def test_defaults():
    episode = episodes(LABELS["unequal shots"], 8, 5)
    head = Prototype(5)
    assert torch.equal(head(*episode, WAY), Prototype(5, frames=8, distance="euclidean")(*episode, WAY))
    assert not list(head.parameters())
    ten = Prototype(5, distance="cosine", scale=10.0)
    assert torch.equal(Prototype(5, distance="cosine")(*episode, WAY), ten(*episode, WAY))


def test_by_hand():
    """Three classes in the plane; the query's frames (0, 0) and (2, 0) have the mean (1, 0).

    Class 0: one support of mean (4, 4): away by (3, 4), so 5. Its cosine with (1, 0) is 4 / √32 = √½.
    Class 1: supports of mean (1, 2) and (-3, 3), away by 2 and by (4, 3), so 5: mean 3.5, although their mean
        (-1, 2.5) lies √(4 + 6.25) = 3.2 away. Cosines 1 / √5 and -1 / √2.
    Class 2: one support of mean (0, 1): √2 away, cosine 0.
    """
    support = torch.stack(
        [
            video((-1, 2), (3, 2)),
            video((0, 3), (0, -1)),
            video((4, 0), (4, 8)),
            video((-6, 3), (0, 3)),
        ]
    )[None]
    episode = support, torch.tensor([[1, 2, 0, 1]]), video((0, 0), (2, 0))[None, None], 3
    far = Prototype(2, frames=2)(*episode)[0, 0].tolist()
    assert far == pytest.approx([-5, -3.5, -math.sqrt(2)], rel=1e-12)
    alike = Prototype(2, frames=2, distance="cosine")(*episode)[0, 0].tolist()
    half = math.sqrt(0.5)
    assert alike == pytest.approx([10 * half, 5 * (1 / math.sqrt(5) - half), 0], rel=1e-9, abs=1e-12)


def test_cosine_does_not_see_lengths_and_euclidean_is_proportional_to_them():
    support, labels, query = episodes(LABELS["unequal shots"], 4, 5)
    alike = Prototype(5, frames=4, distance="cosine")
    found = alike(support, labels, query, WAY)
    for longer, shorter in ((100.0, 0.01), (1e-3, 7.0)):
        torch.testing.assert_close(
            alike(longer * support, labels, shorter * query, WAY), found, rtol=1e-7, atol=1e-7
        )
    assert found.abs().max() <= 10
    far = Prototype(5, frames=4)
    torch.testing.assert_close(
        far(3 * support, labels, 3 * query, WAY), 3 * far(support, labels, query, WAY), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("distance", SLOW)
def test_the_order_of_frames_does_not_matter(distance):
    support, labels, query = episodes(LABELS["equal shots, shuffled"], 4, 5)
    head = Prototype(5, frames=4, distance=distance)
    torch.testing.assert_close(
        head(support.flip(2), labels, query.roll(1, 2), WAY),
        head(support, labels, query, WAY),
        rtol=1e-9,
        atol=1e-11,
    )


@pytest.mark.parametrize("distance", SLOW)
def test_gradients_are_those_of_the_values(distance):
    support, labels, query = episodes([[1, 0, 1]], 2, 3, queries=2)
    head = Prototype(3, frames=2, distance=distance)
    inputs = support.requires_grad_(), query.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, q: head(s, labels, q, 2), inputs)


@pytest.mark.parametrize("distance", SLOW)
@pytest.mark.parametrize("zeros", ["query", "support", "both"])
def test_features_of_zeros_do_no_harm(distance, zeros):
    """A video without a direction is like no other: cosine 0. Two of them are no distance apart."""
    support, labels, query = episodes(LABELS["one shot"], 4, 5)
    if zeros != "support":
        query[:, 0] = 0
    if zeros != "query":
        support[:, 0] = 0
    support.requires_grad_()
    query.requires_grad_()
    logits = Prototype(5, frames=4, distance=distance)(support, labels, query, WAY)
    if distance == "cosine" and zeros != "support":
        assert (logits[:, 0] == 0).all()
    if zeros == "both" and distance == "euclidean":
        assert logits[0, 0, labels[0, 0]].abs() < 1e-6
    logits.sum().backward()
    assert torch.isfinite(support.grad).all()
    assert torch.isfinite(query.grad).all()


def test_a_query_equal_to_its_support_is_no_trap():
    """The root of a distance of 0 has no slope; its gradient must still be a number."""
    support, labels, _ = episodes(LABELS["one shot"], 4, 5)
    query = support.clone().requires_grad_()
    logits = Prototype(5, frames=4)(support, labels, query, WAY)
    assert torch.equal(logits.argmax(-1), labels)
    logits.sum().backward()
    assert torch.isfinite(query.grad).all()
