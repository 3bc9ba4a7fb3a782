"""Low-rank adapters: LoRA (Hu et al., LoRA: Low-rank adaptation of large language models, ICLR 2022).

A frozen weight W (out, in) is used as W + B A, where A (R, in) and B (out, R) are trained. B is 0 in the
beginning, so that the network starts as it was. They stand on the linear maps of attention, on fused ones
(queries, keys and values in one) as on one map. The sum is made in the place of the weight, whoever reads it:
some libraries hand weights to functions and never call the layer that holds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# What libraries call the linear maps of an attention: of queries, keys and values, and the one behind it.
MAPS = frozenset({"qkv", "proj", "query", "key", "value", "dense", "q", "k", "v"})
MAPS |= {"q_proj", "k_proj", "v_proj", "o_proj", "out_proj"}


class LowRank(nn.Module):
    """What is added to a weight.

    Args:
        weight: (out, in); gives the shape and the device.
        rank: R.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, into = weight.shape
        self.down = nn.Parameter((torch.randn(rank, into) / math.sqrt(into)).to(weight))  # A
        self.up = nn.Parameter(weight.new_zeros(out, rank))  # B

    def forward(self, weight: Tensor) -> Tensor:
        """W (out, in) -> W + B A."""
        return weight + self.up @ self.down


def attention_weights(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The weights (out, in) of the linear maps in a network's attention: who holds each, and its name there."""
    for name, part in network.named_modules():
        *above, last = name.split(".")
        if isinstance(part, nn.MultiheadAttention):
            if part.in_proj_weight is not None:
                yield part, "in_proj_weight"
            else:
                yield from ((part, f"{one}_proj_weight") for one in "qkv")
        elif isinstance(part, nn.Linear) and last in MAPS and any("att" in one.lower() for one in above):
            yield part, "weight"


def adapt(network: nn.Module, rank: int) -> int:
    """Put adapters on a network's attention and freeze the rest; how many there are, 0 where it has none.

    Raises:
        ValueError: a rank above the widths of a map.
    """
    network.requires_grad_(False)
    found = list(attention_weights(network))
    least = min((min(getattr(part, name).shape) for part, name in found), default=rank)
    if rank > least:
        raise ValueError(f"the narrowest of its maps has {least} numbers, `lora:{least}` or less would do")
    for part, name in found:
        parametrize.register_parametrization(part, name, LowRank(getattr(part, name).detach(), rank))
    return len(found)


def merge(network: nn.Module) -> None:
    """Put each W + B A in the place of W and take the adapters off; copies made of the network go with it."""
    for part in list(network.modules()):
        for name in list(getattr(part, "parametrizations", {})):
            if any(isinstance(one, LowRank) for one in part.parametrizations[name]):  # type: ignore[index]
                parametrize.remove_parametrizations(part, name)
