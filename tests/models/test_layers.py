"""The position encoding and the projection of frame tuples against their plain formulas."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from litemkd.models.layers import (
    PositionEncoding,
    TupleProjection,
    check_tuple_sizes,
    frame_tuples,
    sinusoid,
)


@pytest.mark.parametrize("width", [1, 6, 7])
def test_sinusoid_by_the_formula(width):
    table = sinusoid(5, width)
    assert table.shape == (5, width)
    for t in range(5):
        for place in range(width):
            angle = t * 10000 ** (-(place - place % 2) / width)
            value = 0.1 * (math.cos(angle) if place % 2 else math.sin(angle))
            assert table[t, place].item() == pytest.approx(value, abs=1e-6)


def test_position_encoding_adds_and_drops_in_training_only():
    layer = PositionEncoding(6, 8, dropout=0.5)
    x = torch.randn(2, 3, 8, 6)
    layer.eval()
    torch.testing.assert_close(layer(x), x + sinusoid(8, 6))
    torch.testing.assert_close(
        layer(x[:, :, :4]), x[:, :, :4] + sinusoid(4, 6)
    )  # fewer frames: the first places
    layer.train()
    assert 0.2 < (layer(x) == 0).float().mean() < 0.8
    assert not layer.state_dict()  # computed, not saved


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_frame_tuples_are_all_and_in_order(size):
    tuples = frame_tuples(8, size)
    assert tuples.shape == (math.comb(8, size), size)
    assert [tuple(row) for row in tuples.tolist()] == list(combinations(range(8), size))


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(2, 6),
    size=st.integers(1, 4),
    dim=st.integers(1, 7),
    width=st.integers(1, 5),
    lead=st.lists(st.integers(1, 3), max_size=2),
)
def test_efficient_projection_is_the_plain_one(frames, size, dim, width, lead):
    size = min(size, frames)
    torch.manual_seed(dim)
    layer = TupleProjection(dim, width, frame_tuples(frames, size)).double()
    x = torch.randn(*lead, frames, dim, dtype=torch.float64, requires_grad=True)
    quick = layer(x)
    layer.plain = True
    plain = layer(x)
    assert quick.shape == (*lead, math.comb(frames, size), width)
    torch.testing.assert_close(quick, plain, rtol=0, atol=1e-12)
    ways = [torch.autograd.grad(y.pow(2).sum(), [x, layer.weight, layer.bias]) for y in (quick, plain)]
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_projection_has_the_released_layers_weights():
    layer = TupleProjection(5, 3, frame_tuples(4, 2))
    released = nn.Linear(10, 3)
    layer.load_state_dict(released.state_dict())  # nothing missing, nothing more
    x = torch.randn(4, 5)
    expected = torch.stack([released(torch.cat([x[a], x[b]])) for a, b in combinations(range(4), 2)])
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("sizes", [(), (2, 2), (0,), (9,), (2, 9), (-1,)])
def test_bad_tuple_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"distinct whole numbers from 1 to 8 \(frames\)"):
        check_tuple_sizes(sizes, 8)


def test_good_tuple_sizes():
    assert check_tuple_sizes([2, 3], 8) == (2, 3)
    assert check_tuple_sizes([8], 8) == (8,)
