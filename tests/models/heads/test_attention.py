"""Attention and the Transformer layer: against loops, and what they cost."""

import pytest
import torch

from litemkd.cost.counting import count, meta, without_data
from litemkd.models.heads.attention import Attention, Layer
from tests.models.heads.slow import attention, layer, unlike_defaults


@pytest.mark.parametrize(("dim", "heads"), [(8, 2), (7, 3), (4, 8), (5, 1)])
def test_parity_with_loops(dim, heads):
    torch.manual_seed(0)
    own, whole = unlike_defaults(Attention(dim, heads)), unlike_defaults(Layer(dim, heads, feed_forward=heads))
    videos = torch.randn(2, 3, 4, dim, dtype=torch.float64)
    with torch.no_grad():
        for module, slow in ((own, attention), (whole, layer)):
            found, expected = module(videos), slow(module, videos[1, 2].tolist())
            assert found.shape == videos.shape
            torch.testing.assert_close(
                found[1, 2], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10
            )


def test_every_product_is_counted():
    """Of N = 4 vectors of D = 8 in 2 heads: 4 maps of D²; scores and sums of N² D each; 2 FLOPs a MAC."""
    _, work = count(without_data(Attention(8, 2)), meta(1, 4, 8))
    assert work.macs == 4 * (4 * 8 * 8)
    assert work.flops == 2 * (4 * (4 * 8 * 8) + 2 * 4 * 4 * 8)


def test_gradients_are_those_of_the_values():
    torch.manual_seed(0)
    whole = unlike_defaults(Layer(4, 2))
    assert torch.autograd.gradcheck(whole, torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True))
