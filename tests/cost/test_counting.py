"""Counting: thop's and torch's rules on modules whose work is known by hand."""

import pytest
import torch
from torch import nn

from litemkd.cost.counting import Count, count, meta, set_plain, without_data
from litemkd.models.layers import TupleProjection, frame_tuples


def test_linear_layer_and_norm():
    module = nn.Sequential(nn.Linear(6, 10), nn.LayerNorm(10))
    result, work = count(module, torch.ones(3, 6))
    assert result.shape == (3, 10)
    assert work == Count(macs=3 * 6 * 10 + 4 * 3 * 10, flops=2 * 3 * 6 * 10)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tuple_projection_counts_what_each_form_does(size):
    frames, dim, width = 5, 6, 7
    module = TupleProjection(dim, width, frame_tuples(frames, size))
    _, cheap = count(without_data(module), meta(2, frames, dim))
    set_plain(module, True)
    _, plain = count(without_data(module), meta(2, frames, dim))
    places = len(frame_tuples(frames, size))
    placed = size * (frames - size + 1)
    assert cheap.macs == 2 * placed * dim * width
    assert plain.macs == 2 * places * size * dim * width
    adding = 2 * 2 * places * placed * width  # placed frames to tuples, by a product
    assert (cheap.flops, plain.flops) == (2 * cheap.macs + adding, 2 * plain.macs)


def test_attention_module_counts_its_projections():
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.ones(3, 5, 8)
    _, work = count(module, x, x, x)
    projections = 4 * 3 * 5 * 8 * 8
    assert work.macs == projections
    assert work.flops == 2 * projections + 2 * (2 * 3 * 5 * 5 * 8)  # two products of activations


def test_transformer_layer_is_counted_whole_and_the_fast_path_comes_back():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    before = torch.backends.mha.get_fastpath_enabled()
    _, work = count(layer, torch.ones(1, 5, 8))
    linear = 5 * (4 * 8 * 8 + 2 * 8 * 16)
    assert work == Count(linear + 2 * 4 * 5 * 8, 2 * (linear + 2 * 5 * 5 * 8))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_copy_without_data():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    copied = without_data(module)
    assert {x.device.type for x in [*copied.parameters(), *copied.buffers()]} == {"meta"}
    assert {x.device.type for x in [*module.parameters(), *module.buffers()]} == {"cpu"}
    assert copied(meta(3, 4)).shape == (3, 4)
