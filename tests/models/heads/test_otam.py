"""OTAM against its recursion in plain loops, against the sum over all alignments, and by hand."""

import math

import pytest
import torch

from litemkd.models.heads import OTAM
from litemkd.models.heads.otam import align
from tests.models.heads.slow import LABELS, WAY, cosine_distances, episodes, mean_over_supports


def softmin(smoothing, *values):
    least = min(values)
    return least - smoothing * math.log(math.fsum(math.exp((least - value) / smoothing) for value in values))


def hard_minimum(_, *values):
    return min(values)


def recursion(d, smoothing, least=softmin):
    """One direction of the alignment of rows with columns: the cost of the best (soft) path."""
    length, width = len(d), len(d[0])
    padded = [[0.0, *row, 0.0] for row in d]
    cost = [[0.0] * (width + 2) for _ in d]
    for m in range(1, width + 2):
        cost[0][m] = padded[0][m] + cost[0][m - 1]
    for row in range(1, length):
        above, here = cost[row - 1], cost[row]
        for m in range(1, width + 2):
            if m in (1, width + 1):
                best = least(smoothing, above[m - 1], above[m], here[m - 1])
            else:
                best = least(smoothing, above[m - 1], here[m - 1])
            here[m] = padded[row][m] + best
    return cost[-1][-1]


def path_costs(d):
    """The cost of every path from a cell of cost 0 to the last one, by walking them all backwards."""
    width = len(d[0])
    padded = [[0.0, *row, 0.0] for row in d]

    def walk(row, m, so_far):
        if m == 0:
            yield so_far
            return
        so_far += padded[row][m]
        yield from walk(row, m - 1, so_far)
        if row > 0:
            yield from walk(row - 1, m - 1, so_far)
            if m in (1, width + 1):
                yield from walk(row - 1, m, so_far)

    return list(walk(len(d) - 1, width + 1, 0.0))


def transpose(d):
    return [list(column) for column in zip(*d, strict=True)]


def likeness(smoothing, least=softmin):
    def compare(query, support):
        d = cosine_distances(query, support)
        return -recursion(d, smoothing, least) - recursion(transpose(d), smoothing, least)

    return compare


def pair(query, support):
    """Two videos (T, D) as an episode of one class, one support and one query."""
    return support[None, None], torch.tensor([[0]]), query[None, None], 1


@pytest.mark.parametrize(("frames", "smoothing"), [(8, 0.1), (3, 0.1), (2, 0.1), (1, 0.1), (4, 0.5), (4, 0.01)])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_recursion(labels, frames, smoothing):
    episode = episodes(labels, frames, 5)
    head = OTAM(5, frames=frames, smoothing=smoothing).eval()
    expected = mean_over_supports(*episode, WAY, likeness(smoothing))
    torch.testing.assert_close(head(*episode, WAY), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_it_is_the_soft_minimum_over_all_alignments(frames):
    """Nested soft minima are one soft minimum over every path, which is counted out here."""
    support, _, query = episodes([[0]], frames, 5, queries=1)
    d = cosine_distances(query[0, 0], support[0, 0])
    expected = softmin(0.1, *path_costs(d)) + softmin(0.1, *path_costs(transpose(d)))
    assert -recursion(d, 0.1) - recursion(transpose(d), 0.1) == pytest.approx(-expected, rel=1e-12)
    assert float(OTAM(5, frames=frames)(*pair(query[0, 0], support[0, 0]))) == pytest.approx(
        -expected, rel=1e-9
    )


def test_defaults_are_the_published_head():
    head, named = OTAM(5), OTAM(5, frames=8, smoothing=0.1)
    episode = episodes(LABELS["unequal shots"], 8, 5)
    assert torch.equal(head(*episode, WAY), named(*episode, WAY))
    assert not list(head.parameters())


def test_two_frames_by_hand():
    """Two frames that meet in order, and the same two against their reverse.

    <e1, e1> / (1 · 1 + 0.01) = 1 / 1.01, so equal frames lie a = 1 - 1 / 1.01 = 0.01 / 1.01 apart, others 1.
    With E(x) = exp(-x / 0.1), in order, d = [[a, 1], [1, a]]:
        row 0   C = 0, a, a + 1, a + 1
        row 1   C1 = 1 + softmin(0, a, 0)  = 1 - 0.1 ln(2 + E(a))
                C2 = a + softmin(a, C1)    = a - 0.1 ln(E(a) + E(C1))
                C3 = softmin(a + 1, a + 1, C2) = -0.1 ln(2 E(a + 1) + E(C2))
    E(a) = 0.9057337, so C1 = 0.8933314 and E(C1) = 0.0001319201; C2 = 0.0197874 and E(C2) = 0.8204731;
    2 E(a + 1) = 0.0000822405, so C3 = 0.0197774. d is its own transpose: the distance is 2 C3 = 0.0395548.
    Reversed, d = [[1, a], [a, 1]]:
        row 0   C = 0, 1, 1 + a, 1 + a
        row 1   C1 = a + softmin(0, 1, 0) = a - 0.1 ln(2 + E(1)) = -0.0594160
                C2 = 1 + softmin(1, C1) = 1 - 0.1 ln(E(1) + E(C1)) = 0.9405815
                C3 = softmin(1 + a, 1 + a, C2) = 0.8712692; the distance is 2 C3 = 1.7425383.
    """
    forwards = torch.eye(2, dtype=torch.float64)
    head = OTAM(2, frames=2)
    assert float(head(*pair(forwards, forwards))) == pytest.approx(-0.0395548, abs=2e-7)
    assert float(head(*pair(forwards.flip(0), forwards))) == pytest.approx(-1.7425383, abs=2e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_small_smoothing_is_close_to_the_hard_minimum(dtype, scale):
    """exp(-1 / 0.001) is 0 in any precision, so a soft minimum without a shift would be infinite."""
    frames, smoothing = 8, 1e-3
    support, labels, query = episodes(LABELS["unequal shots"], frames, 5)
    support, query = scale * support, scale * query
    hard = mean_over_supports(support, labels, query, WAY, likeness(smoothing, hard_minimum))
    inputs = [x.to(dtype).requires_grad_() for x in (support, query)]
    logits = OTAM(5, frames=frames, smoothing=smoothing)(inputs[0], labels, inputs[1], WAY)
    assert logits.dtype == dtype
    above = logits.detach().double() - hard
    rounding = 1e-9 if dtype == torch.float64 else 1e-4
    # a soft minimum of n lies at most λ ln n below the hard one; a path has fewer than 2 T + 2 steps of 3 ways
    assert (above > -rounding).all()
    assert (above < 2 * (2 * frames + 2) * smoothing * math.log(3) + rounding).all()
    logits.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in inputs)


def test_long_clips_that_are_all_unlike():
    """64 frames, each pointing away from the other clip's: costs near 128, exp(-128 / 0.1) is 0 in doubles."""
    frames = 64
    one = torch.tensor([[1.0, 2.0]], dtype=torch.float64).repeat(frames, 1)
    other = (-one).requires_grad_()
    expected = likeness(0.1)(one, other.detach())
    assert expected < -100
    logit = OTAM(2, frames=frames)(*pair(one, other))
    assert float(logit.detach()) == pytest.approx(expected, rel=1e-9)
    logit.sum().backward()
    assert torch.isfinite(other.grad).all()


def test_in_deterministic_mode_it_gives_the_same(deterministic_mode):
    table = torch.rand(3, 8, 8, dtype=torch.float64)
    with deterministic_mode(False):
        plain = align(table, 0.1)
    with deterministic_mode(True):
        torch.testing.assert_close(align(table, 0.1), plain, rtol=1e-12, atol=0)


def test_gradients_are_those_of_the_values():
    support, labels, query = episodes([[1, 0, 1]], 3, 2, queries=2)
    head = OTAM(2, frames=3)
    inputs = support.requires_grad_(), query.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, q: head(s, labels, q, 2), inputs)


def test_features_of_zeros_do_no_harm():
    """A frame of zeros lies 1 from every frame: row and column sums without a direction to go."""
    support, labels, query = episodes(LABELS["one shot"], 4, 5)
    query[:, 0] = 0
    support[:, 1] = 0
    expected = mean_over_supports(support, labels, query, WAY, likeness(0.1))
    support.requires_grad_()
    query.requires_grad_()
    logits = OTAM(5, frames=4)(support, labels, query, WAY)
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-9, atol=1e-11)
    logits.sum().backward()
    assert torch.isfinite(support.grad).all()
    assert torch.isfinite(query.grad).all()


def test_order_in_time_matters_and_either_may_be_called_the_query():
    support, _, query = (x[0, 0] for x in episodes([[0]], 6, 5, queries=1))
    head = OTAM(5, frames=6)
    forwards = head(*pair(query, support))
    assert abs(float(forwards - head(*pair(query.flip(0), support)))) > 1e-3
    torch.testing.assert_close(head(*pair(support, query)), forwards, rtol=1e-9, atol=0)


def test_three_frames_by_hand():
    """A clip against the same one begun a frame later and wrapped round, with nearly no smoothing.

    Equal frames lie a = 0.01 / 1.01 apart, others 1: d = [[1, 1, a], [a, 1, 1], [1, a, 1]]. Costs by column:
        row 0   0, 1, 2, 2 + a, 2 + a
        row 1   0, a, 1 + a, 2 + a, 2 + a
        row 2   0, 1, 2a, 1 + 2a, 1 + 2a     enters late at no cost and meets two equal frames
    Its transpose is [[1, a, 1], [1, 1, a], [a, 1, 1]]:
        row 0   0, 1, 1 + a, 2 + a, 2 + a
        row 1   0, 1, 2, 1 + 2a, 1 + 2a
        row 2   0, a, 1 + a, 2 + a, 1 + 2a   leaves early at no cost
    The distance is 2 + 4a.
    """
    clip = torch.eye(3, dtype=torch.float64)
    logit = OTAM(3, frames=3, smoothing=1e-6)(*pair(clip, clip.roll(-1, 0)))
    assert float(logit) == pytest.approx(-(2 + 4 * 0.01 / 1.01), abs=1e-4)
