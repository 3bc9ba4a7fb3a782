"""TRX against a slow, plain reading of its formula."""

import math
from itertools import combinations

import pytest
import torch

from benchmarks.published.trx import LoopTRX
from litemkd.cost.counting import set_plain
from litemkd.models.heads import TRX


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
    head = TRX(6, width=5, frames=4, tuples=sizes).double().eval()
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
        set_plain(head, True)
        torch.testing.assert_close(head(support, labels, query, 3), expected, rtol=0, atol=1e-10)


def test_defaults_are_the_published_head():
    head = TRX(16)
    assert head.width == 1152
    assert head.rows == 14
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
    assert [len(size.sums) for size in TRX(16, tuples=(2, 3)).sizes] == [28, 56]


def test_dropout_is_active_in_training_only():
    head = TRX(6, width=5, frames=4)
    episode = torch.randn(1, 3, 4, 6), torch.tensor([[0, 1, 2]]), torch.randn(1, 2, 4, 6)
    assert not torch.equal(head(*episode, 3), head(*episode, 3))
    head.eval()
    assert torch.equal(head(*episode, 3), head(*episode, 3))


def test_several_sizes_are_the_mean_of_each():
    torch.manual_seed(0)
    both = TRX(6, width=5, frames=4, tuples=(2, 3)).eval()
    episode = torch.randn(1, 3, 4, 6), torch.tensor([[0, 1, 2]]), torch.randn(1, 2, 4, 6)
    each = []
    for place, size in enumerate((2, 3)):
        one = TRX(6, width=5, frames=4, tuples=(size,)).eval()
        one.transformers[0].load_state_dict(both.transformers[place].state_dict())
        each.append(one(*episode, 3))
    torch.testing.assert_close(both(*episode, 3), (each[0] + each[1]) / 2)


@pytest.mark.parametrize("sizes", [(), (5,), (2, 2)])
def test_bad_tuple_sizes(sizes):
    with pytest.raises(ValueError, match="tuple sizes must be distinct"):
        TRX(6, width=5, frames=4, tuples=sizes)


def episode_of(labels, sizes=(2,), common=0.0, dtype=torch.float32):
    """A head in training form, and an episode of frames of 64 that have `common` added to each number."""
    torch.manual_seed(1)
    labels = torch.tensor(labels)
    head = TRX(64, width=96, frames=6, tuples=sizes, dropout=0.0).to(dtype)
    for part in head.transformers:
        torch.nn.init.normal_(part.norm_k.weight)
        torch.nn.init.normal_(part.norm_k.bias)
    support, query = (
        (torch.randn(2, videos, 6, 64, dtype=dtype) + common).requires_grad_()
        for videos in (labels.shape[1], 3)
    )
    return head, support, labels, query


def answer(head, support, query, forward):
    """Logits, and the gradients of a loss on them by the frames and by all weights, these as one.

    Those of some biases are zero but for rounding.
    """
    wanted = [support, query, *head.parameters()]
    logits = forward()
    # of the size of the logits: the loss of labels alone has no gradient where a class is far ahead
    loss = (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum()
    support, query, *weights = torch.autograd.grad(loss, wanted)
    flat = torch.cat([x.flatten() for x in weights])
    return {"logits": logits.detach(), "support": support, "query": query, "weights": flat}


def assert_near(found, expected, within):
    """Of each tensor the difference is so small a part of its norm."""
    for name, other in expected.items():
        assert (found[name] - other).norm() <= within * other.norm(), name


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("common", [0.0, 3.0])
@pytest.mark.parametrize("sizes", [(2,), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_logits_and_gradients_are_those_of_the_plain_form(labels, sizes, common, dtype, within):
    head, support, labels, query = episode_of(labels, sizes, common, dtype)
    found = {}
    for plain in (False, True):
        set_plain(head, plain)
        found[plain] = answer(head, support, query, lambda: head(support, labels, query, 3))
        code = head.encode(support), labels, head.encode(query), 3
        with torch.no_grad():
            found[plain]["without"] = head.match(*code)
            found[plain]["relation"] = head.relate(*code)
    assert_near(found[False], found[True], within)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_training_is_that_of_the_published_loops(labels):
    head, support, labels, query = episode_of(labels)
    loops = LoopTRX(head)
    found = answer(head, support, query, lambda: head(support, labels, query, 3))
    expected = answer(
        head,
        support,
        query,
        lambda: torch.stack([loops(*one) for one in zip(support, labels, query, strict=True)]),
    )
    assert_near(found, expected, 1e-5)


def test_a_query_that_is_a_support_has_hardly_a_distance():
    """A distance of a millionth of the others is right to some digits still, though only products are made."""
    head, support, labels, _ = episode_of(LABELS["one shot"], common=3.0)
    with torch.no_grad():
        head.transformers[0].norm_k.weight.fill_(6)
    query = support.detach().clone().requires_grad_()
    logits = head(support, labels, query, 3)
    logits.sum().backward()
    assert torch.isfinite(query.grad).all()
    own = torch.nn.functional.one_hot(labels, 3).bool()
    assert logits[own].abs().max() < 1e-6 * logits[~own].abs().min()
    head.double()
    set_plain(head, True)
    torch.testing.assert_close(
        logits.double(), head(support.double(), labels, query.double(), 3), rtol=1e-2, atol=1e-11
    )


def test_mixed_precision_is_near():
    head, support, labels, query = episode_of(LABELS["unequal shots"], (2, 3))
    expected = answer(head, support, query, lambda: head(support, labels, query, 3))
    with torch.autocast("cpu", torch.bfloat16):
        code = head.encode(support)
        found = answer(head, support, query, lambda: head(support, labels, query, 3))
    assert code.dtype == torch.bfloat16
    assert found["logits"].dtype == torch.float32
    assert_near(found, expected, 0.05)
