"""STRM against a slow, plain reading of its formula: patches, frames, tuples of both, and by hand."""

import math
from itertools import combinations

import pytest
import torch

from litemkd.models.heads import STRM
from tests.models.heads.slow import (
    LABELS,
    WAY,
    add,
    dot,
    episodes,
    linear,
    make_positions_exact,
    positions,
    relu,
    softmax,
)
from tests.models.heads.test_trx import slow_trx

FRAMES, PLACES, DIM = 3, 4, 6


def frame_feature(part, patches):
    """One frame: patches (places, D) enriched by one another and averaged, (D,)."""
    placed = (patches + positions(*patches.shape)).tolist()
    keys = [linear(part.key, x) for x in placed]
    values = [linear(part.value, x) for x in placed]
    enriched = []
    for x in placed:
        query = linear(part.query, x)
        scores = [dot(query, key) for key in keys]
        seen = [dot(softmax(scores), [value[i] for value in values]) for i in range(len(x))]
        y = [value + float(part.gamma) * other for value, other in zip(x, seen, strict=True)]
        inner = relu(linear(part.mlp[0], y))
        inner = relu(linear(part.mlp[2], inner))
        enriched.append(add(y, linear(part.mlp[4], inner)))
    return [value / len(enriched) for value in add(*enriched)]


def enriched_frames(part, frames):
    """One video's frame features (T, D) enriched over time, then over their width."""
    x = (torch.tensor(frames, dtype=torch.float64) + positions(len(frames), len(frames[0]))).tolist()
    for_each_width = []
    for i in range(len(x[0])):
        over_time = [frame[i] for frame in x]
        mixed = linear(part.tokens[2], relu(linear(part.tokens[0], over_time)))
        for_each_width.append(add(over_time, mixed))
    x = [[column[t] for column in for_each_width] for t in range(len(x))]
    return [add(frame, linear(part.mlp[2], relu(linear(part.mlp[0], frame)))) for frame in x]


def patch_likeness(layer, size, query, supports):
    """Minus the mean over the query's tuples of the nearest of all tuples of all supports."""

    def tuples(frames):
        return [
            relu(linear(layer, [value for t in t_s for value in frames[t]]))
            for t_s in combinations(range(len(frames)), size)
        ]

    others = [e for frames in supports for e in tuples(frames)]
    nearest = [min(math.dist(e, other) for other in others) for e in tuples(query)]
    return -math.fsum(nearest) / len(nearest)


def slow_strm(head, support, labels, query, sizes):
    """Frame and patch logits, (B, Q, W) each, from patches (B, ·, T, places, D)."""

    def frames(videos):
        return [[[frame_feature(head.patches, frame) for frame in video] for video in row] for row in videos]

    def enriched(rows):
        return torch.tensor(
            [[enriched_frames(head.frames, video) for video in row] for row in rows], dtype=torch.float64
        )

    own, asked = frames(support), frames(query)
    frame = slow_trx(head.trx, enriched(own), labels, enriched(asked), WAY, sizes)
    patch = torch.zeros_like(frame)
    for b in range(len(own)):
        for q, video in enumerate(asked[b]):
            for c in range(WAY):
                of_class = [x for x, label in zip(own[b], labels[b].tolist(), strict=True) if label == c]
                likeness = [
                    patch_likeness(layer, size, video, of_class)
                    for layer, size in zip(head.tuples, sizes, strict=True)
                ]
                patch[b, q, c] = sum(likeness) / len(likeness)
    return {"frame": frame, "patch": patch}


def build(places=PLACES, sizes=(2,), gamma=0.7, dim=DIM, frames=FRAMES):
    torch.manual_seed(5)
    head = STRM(dim, width=5, frames=frames, tuples=sizes, places=places).double().eval()
    with torch.no_grad():
        head.patches.gamma.fill_(gamma)
        for part in head.trx.transformers:  # a norm that does something
            torch.nn.init.normal_(part.norm_k.weight)
            torch.nn.init.normal_(part.norm_k.bias)
    make_positions_exact(head)
    return head


def parts_of(head, episode):
    support, labels, query = episode
    return head.match_parts(head.encode(support), labels, head.encode(query), WAY)


def assert_parity(head, episode, sizes):
    with torch.no_grad():
        expected, found = slow_strm(head, *episode, sizes), parts_of(head, episode)
        assert set(found) == {"frame", "patch"}
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-10)
        total = expected["frame"] + 0.1 * expected["patch"]
        torch.testing.assert_close(head(*episode, WAY), total, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels):
    assert_parity(build(), episodes(labels, FRAMES, PLACES, DIM), (2,))


@pytest.mark.parametrize("gamma", [0.0, -1.3])
def test_parity_for_other_weights_of_the_attention(gamma):
    episode = episodes(LABELS["unequal shots"], FRAMES, PLACES, DIM)
    assert_parity(build(gamma=gamma), episode, (2,))


def test_several_tuple_sizes_are_the_mean_of_each():
    sizes = (2, 3)
    episode = episodes(LABELS["unequal shots"], FRAMES, PLACES, DIM)
    assert_parity(build(sizes=sizes), episode, sizes)


def test_frame_features_are_one_place_a_frame():
    """A teacher's features have no places: the head takes them without that axis."""
    support, labels, query = episodes(LABELS["unequal shots"], FRAMES, 1, DIM)
    head = build(places=1)
    with torch.no_grad():
        found = parts_of(head, (support.squeeze(3), labels, query.squeeze(3)))
        expected = slow_strm(head, support, labels, query, (2,))
    for name, logits in expected.items():
        torch.testing.assert_close(found[name], logits, rtol=1e-9, atol=1e-9)


def test_an_attention_of_weight_zero_is_where_training_begins():
    head = STRM(DIM, width=5, frames=FRAMES, places=PLACES).double().eval()
    assert head.patches.gamma.shape == (1,)
    assert float(head.patches.gamma.detach()) == 0
    episode = episodes(LABELS["one shot"], FRAMES, PLACES, DIM)
    before = head(*episode, WAY)
    with torch.no_grad():
        for layer in (head.patches.query, head.patches.key, head.patches.value):
            layer.weight.mul_(-3)
            layer.bias.add_(2)
    torch.testing.assert_close(head(*episode, WAY), before, rtol=1e-12, atol=1e-12)  # it adds nothing yet
    before.sum().backward()
    assert head.patches.gamma.grad.abs() > 1e-9  # and can learn to


def test_defaults_are_the_published_head():
    head = STRM(16)
    assert head.parts == {"frame": 1.0, "patch": 0.1}
    assert [tuple(layer.weight.shape) for layer in head.tuples] == [(8, 32)]
    assert head.trx.width == 1152
    assert head.patches.pe.pe.shape == (16, 16)
    assert head.frames.pe.pe.shape == (8, 16)
    assert [tuple(head.patches.mlp[i].weight.shape) for i in (0, 2, 4)] == [(8, 16), (8, 8), (16, 8)]
    assert [tuple(head.frames.tokens[i].weight.shape) for i in (0, 2)] == [(8, 8), (8, 8)]
    assert [tuple(head.frames.mlp[i].weight.shape) for i in (0, 2)] == [(16, 16), (16, 16)]


def test_every_weight_is_trained_and_saved():
    """The layer of the patch logits too."""
    # the first adds the same to all of a row's scores, the second to a query's values and the prototype's
    cancelled = {"patches.key.bias", "trx.transformers.0.v_linear.bias"}
    layers = {f"patches.{name}" for name in ("query", "key", "value", "mlp.0", "mlp.2", "mlp.4")}
    layers |= {"frames.tokens.0", "frames.tokens.2", "frames.mlp.0", "frames.mlp.2", "tuples.0"}
    layers |= {f"trx.transformers.0.{name}" for name in ("k_linear", "v_linear", "norm_k")}
    names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")} | {"patches.gamma"}
    head = build()
    assert set(head.state_dict()) == names
    support, labels, query = episodes(LABELS["unequal shots"], FRAMES, PLACES, DIM)
    logits = head(support, labels, query, WAY)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.arange(6) % WAY).backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        if name not in cancelled:
            assert weight.grad.abs().max() > 1e-12, name
    torch.manual_seed(99)
    other = STRM(DIM, width=5, frames=FRAMES, places=PLACES).double().eval()
    make_positions_exact(other)
    assert not torch.equal(other(support, labels, query, WAY), logits)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(support, labels, query, WAY), logits)


def test_patch_logits_by_hand():
    """Three frames of one patch of two numbers, the layers set so that a tuple's e is ReLU(x_t1[0] + x_t2[1]).

    The mean of one patch is the patch; PE adds (sin 0, cos 0) / 10 = (0, 0.1), so 0.1 is added to each sum.
    Query (1, 9), (2, 0), (9, 3): pairs 01, 02, 12 give 1 + 0, 1 + 3, 2 + 3: e = 1.1, 4.1, 5.1.
    Class 0: (0, 0), (0, 2), (0, 0) gives 2.1, 0.1, 0.1; and (-9, 0), (1, -9), (0, 6) gives -17.9 and -2.9,
        of which ReLU makes 0, and 7.1. The nearest to 1.1 is 1 away, to 4.1 it is 2.1, 2 away, to 5.1 it is
        7.1, 2 away, each from whichever support: (1 + 2 + 2) / 3.
    Class 1 holds the query itself: 0.
    """
    head = STRM(2, width=5, frames=3, places=1).double().eval()
    make_positions_exact(head)
    with torch.no_grad():
        for layer in (0, 2, 4):
            head.patches.mlp[layer].weight.zero_()
            head.patches.mlp[layer].bias.zero_()
        head.tuples[0].weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
        head.tuples[0].bias.zero_()
    asked = [(1, 9), (2, 0), (9, 3)]
    own = [[(0, 0), (0, 2), (0, 0)], asked, [(-9, 0), (1, -9), (0, 6)]]
    support, query = (torch.tensor([videos], dtype=torch.float64) for videos in (own, [asked]))
    parts = head.match_parts(head.encode(support), torch.tensor([[0, 1, 0]]), head.encode(query), 2)
    assert parts["patch"].flatten().tolist() == pytest.approx([-5 / 3, 0], abs=1e-7)


def test_dropout_is_active_in_training_only():
    head = build()
    episode = episodes(LABELS["one shot"], FRAMES, PLACES, DIM)
    assert all(
        torch.equal(a, b) for a, b in zip(*(parts_of(head, episode).values() for _ in "12"), strict=True)
    )
    head.train()
    for name in ("frame", "patch"):
        assert not torch.equal(parts_of(head, episode)[name], parts_of(head, episode)[name])
    head.patches.pe.dropout.p = 0.0
    assert not torch.equal(parts_of(head, episode)["patch"], parts_of(head, episode)["patch"])  # its own, too
    head.eval()
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))


@pytest.mark.parametrize("zeros", [False, True])
def test_a_query_equal_to_its_support_and_features_of_zeros_are_no_trap(zeros):
    """The root of a distance of 0 has no slope; its gradient must still be a number."""
    support, labels, _ = episodes(LABELS["one shot"], FRAMES, PLACES, DIM)
    support = torch.zeros_like(support) if zeros else support
    query = support.clone().requires_grad_()
    head = build()
    logits = head(support, labels, query, WAY)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert torch.isfinite(query.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in head.parameters())
