"""Rounding to eight bits in training, beside what numpy says."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litemkd.models.backbones import Backbone
from litemkd.models.rounding import EightBits, rounded, rounded_weight

numbers = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40)


@given(numbers)
def test_what_flows_is_the_nearest_of_256_numbers(values):
    x = np.array(values, dtype=np.float32)
    found = rounded(torch.from_numpy(x)).numpy()
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    step = (high - low) / 255
    assert len(np.unique(found)) <= 256
    assert np.abs(found - x).max() <= 0.51 * step + 1e-6 * max(-low, high) + 1e-30
    assert rounded(torch.zeros(3)).abs().max() == 0


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_channel_of_a_weight_is_rounded_by_itself(values):
    weight = np.array(values, dtype=np.float32).reshape(-1, 2, 2)
    found = rounded_weight(torch.from_numpy(weight)).numpy()
    for one, exact in zip(found, weight, strict=True):
        largest = float(np.abs(exact).max())
        assert np.abs(one - exact).max() <= 0.51 * largest / 127 + 1e-30
        assert len(np.unique(one)) <= 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_way_back_is_as_if_nothing_was_rounded(dtype):
    x = torch.randn(50, dtype=dtype, requires_grad=True)
    found = rounded(x)
    found.mul(torch.arange(50, dtype=dtype)).sum().backward()
    assert found.dtype == dtype  # as in mixed precision
    torch.testing.assert_close(x.grad, torch.arange(50, dtype=dtype))


def test_weights_and_what_flows_are_rounded_in_layers():
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with EightBits():
        found = layer(x)
    torch.testing.assert_close(found, F.conv2d(rounded(x), rounded_weight(layer.weight), layer.bias))
    norm = nn.BatchNorm2d(3).eval()
    with EightBits():
        found = norm(x)
    torch.testing.assert_close(found, rounded(norm(x)))
    assert len(found.unique()) <= 256


def test_folding_a_batch_norm_in_leaves_a_rounded_weight_as_it_was():
    weight, gain = torch.randn(5, 3, 3, 3), torch.rand(5, 1, 1, 1) + 0.1
    torch.testing.assert_close(rounded_weight(weight * gain), rounded_weight(weight) * gain)


@pytest.mark.parametrize("name", ["conv4", "resnet18", "mobilenet_v3_small", "timm:tf_efficientnet_lite0"])
def test_what_is_trained_is_the_plain_network(name):
    torch.manual_seed(0)
    plain = Backbone(name, normalise="centred").train()
    other = copy.deepcopy(plain)
    frames = torch.rand(4, 2, 3, 48, 48)
    exact = plain(frames)
    with EightBits():
        found = other(frames)
    assert not torch.equal(exact, found)
    found.pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in other.parameters())
    assert [key for key, _ in other.named_parameters()] == [key for key, _ in plain.named_parameters()]
    assert all(torch.equal(one, two) for one, two in zip(other.parameters(), plain.parameters(), strict=True))
