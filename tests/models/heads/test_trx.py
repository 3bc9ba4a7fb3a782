"""TRX against a slow, plain reading of its formula."""

import math
from itertools import combinations

import pytest
import torch

from litemkd.models.heads import TRX
from litemkd.models.layers import TupleProjection


def tuple_vectors(head_part, video, frames, size):
    """Keys and values of every tuple of one video (T, D), by the formula, from the plain weights."""
    dim = video.shape[1]
    placed = video.clone()
    for t in range(frames):
        for place in range(dim):
            angle = t * 10000 ** (-(place - place % 2) / dim)
            placed[t, place] += 0.1 * (math.cos(angle) if place % 2 else math.sin(angle))
    weights = dict(head_part.named_parameters())
    keys, values = [], []
    for chosen in combinations(range(frames), size):
        joined = torch.cat([placed[t] for t in chosen])
        key = weights["k_linear.weight"] @ joined + weights["k_linear.bias"]
        key = (key - key.mean()) / torch.sqrt(key.var(correction=0) + 1e-5)
        keys.append(key * weights["norm_k.weight"] + weights["norm_k.bias"])
        values.append(weights["v_linear.weight"] @ joined + weights["v_linear.bias"])
    return keys, values


def slow_trx(head, support, labels, query, way, sizes):
    """Logits (B, Q, W): loops over episodes, queries, classes, tuples."""
    frames = support.shape[2]
    logits = torch.zeros(len(query), query.shape[1], way, dtype=torch.float64)
    for b in range(len(query)):
        for part, size in zip(head.transformers, sizes, strict=True):
            supports = [tuple_vectors(part, video, frames, size) for video in support[b]]
            for q, video in enumerate(query[b]):
                keys, values = tuple_vectors(part, video, frames, size)
                for c in range(way):
                    own = [s for s, label in enumerate(labels[b].tolist()) if label == c]
                    class_keys = [k for s in own for k in supports[s][0]]
                    class_values = [v for s in own for v in supports[s][1]]
                    distance = 0.0
                    for key, value in zip(keys, values, strict=True):
                        scores = torch.stack([key @ other / math.sqrt(len(key)) for other in class_keys])
                        weights = torch.exp(scores - scores.max())
                        weights = weights / weights.sum()
                        prototype = sum(w * v for w, v in zip(weights, class_values, strict=True))
                        distance = distance + ((value - prototype) ** 2).sum()
                    logits[b, q, c] -= distance / len(keys) / len(sizes)
    return logits


LABELS = {
    "equal shots, shuffled": [[1, 0, 2, 2, 1, 0], [0, 2, 1, 0, 1, 2]],
    "unequal shots": [[2, 2, 0, 1, 2, 2], [0, 1, 1, 2, 1, 0]],
    "one shot": [[2, 0, 1], [1, 2, 0]],
}


@pytest.mark.parametrize("sizes", [(2,), (2, 3), (1, 4)], ids=str)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(sizes, labels):
    torch.manual_seed(3)
    labels = torch.tensor(labels)
    head = TRX(6, width=5, frames=4, tuple_sizes=sizes).double().eval()
    for part in head.transformers:  # a norm that does something
        torch.nn.init.normal_(part.norm_k.weight)
        torch.nn.init.normal_(part.norm_k.bias)
    support = torch.randn(*labels.shape, 4, 6, dtype=torch.float64)
    query = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        # the position table is single precision in the head: give the reference and it the same one
        for part in head.transformers:
            exact = [
                [
                    0.1 * (math.cos if place % 2 else math.sin)(t * 10000 ** (-(place - place % 2) / 6))
                    for place in range(6)
                ]
                for t in range(4)
            ]
            torch.testing.assert_close(part.pe.pe, torch.tensor(exact, dtype=torch.float64), rtol=0, atol=1e-8)
            part.pe.pe.copy_(torch.tensor(exact, dtype=torch.float64))
        expected = slow_trx(head, support, labels, query, 3, sizes)
        torch.testing.assert_close(head(support, labels, query, 3), expected, rtol=0, atol=1e-10)
        for layer in head.modules():
            if isinstance(layer, TupleProjection):
                layer.plain = True
        torch.testing.assert_close(head(support, labels, query, 3), expected, rtol=0, atol=1e-10)


def test_defaults_are_the_published_head():
    head = TRX(16)
    assert head.width == 1152
    assert head.counts == [28]
    (part,) = head.transformers
    assert part.k_linear.weight.shape == (1152, 32)
    assert part.pe.dropout.p == 0.1
    names = {
        "k_linear.weight",
        "k_linear.bias",
        "v_linear.weight",
        "v_linear.bias",
        "norm_k.weight",
        "norm_k.bias",
    }
    assert set(part.state_dict()) == names  # as in released files, less what is computed or unused
    assert TRX(16, tuple_sizes=(2, 3)).counts == [28, 56]


def test_dropout_is_active_in_training_only():
    head = TRX(6, width=5, frames=4)
    episode = torch.randn(1, 3, 4, 6), torch.tensor([[0, 1, 2]]), torch.randn(1, 2, 4, 6)
    assert not torch.equal(head(*episode, 3), head(*episode, 3))
    head.eval()
    assert torch.equal(head(*episode, 3), head(*episode, 3))


def test_several_sizes_are_the_mean_of_each():
    torch.manual_seed(0)
    both = TRX(6, width=5, frames=4, tuple_sizes=(2, 3)).eval()
    episode = torch.randn(1, 3, 4, 6), torch.tensor([[0, 1, 2]]), torch.randn(1, 2, 4, 6)
    each = []
    for place, size in enumerate((2, 3)):
        one = TRX(6, width=5, frames=4, tuple_sizes=(size,)).eval()
        one.transformers[0].load_state_dict(both.transformers[place].state_dict())
        each.append(one(*episode, 3))
    torch.testing.assert_close(both(*episode, 3), (each[0] + each[1]) / 2)


@pytest.mark.parametrize("sizes", [(), (5,), (2, 2)])
def test_bad_tuple_sizes(sizes):
    with pytest.raises(ValueError, match="tuple sizes must be distinct"):
        TRX(6, width=5, frames=4, tuple_sizes=sizes)
