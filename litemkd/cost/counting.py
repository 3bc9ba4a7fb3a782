"""Counting the work of one forward pass: MACs by thop's rules and exact FLOPs by torch's counter.

thop goes by exact module types and hooks them; it sees no products of two activations (attention, distances)
and adds 4 for each element of a batch or layer norm. Papers in this field print its figures as "GFLOPs".
torch's counter sees every matrix product and convolution, at 2 FLOPs a MAC, and nothing else.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from litemkd.models.layers import TupleProjection

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Count:
    """Work: multiply-accumulates by thop's rules, and exact FLOPs."""

    macs: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(self.macs + other.macs, self.flops + other.flops)

    def __mul__(self, times: int) -> Count:
        return Count(self.macs * times, self.flops * times)


class _Call(nn.Module):
    """A method as a module's forward, which is what thop runs; it keeps what came out."""

    result: Any

    def __init__(self, owner: nn.Module, method: str) -> None:
        super().__init__()
        self.owner = owner
        self.method = method

    def forward(self, *inputs: object) -> object:
        self.result = getattr(self.owner, self.method)(*inputs)
        return self.result


def count(module: nn.Module, *inputs: object, method: str = "__call__") -> tuple[Any, Count]:
    """Run a module, or one of its methods, in eval mode; what came out, and its work.

    thop leaves traces in the modules it has counted: give it a copy, for instance of `without_data`.
    """
    call = _Call(module, method).eval()
    with warnings.catch_warnings(), _explicit_attention(), torch.no_grad():
        warnings.simplefilter("ignore")  # thop's use of distutils, and of its own deprecated functions
        import thop

        with FlopCounterMode(display=False) as counter:  # thop's own arithmetic has no products
            macs, _ = thop.profile(call, inputs, custom_ops=_rules(call), verbose=False)
    return call.result, Count(float(macs), float(counter.get_total_flops()))


def without_data(module: M) -> M:
    """A copy of a module on the meta device: shapes without numbers, taking neither memory nor time."""
    empty: dict[int, Any] = {id(x): torch.empty_like(x, device="meta") for x in module.buffers()}
    for x in module.parameters():
        empty[id(x)] = nn.Parameter(torch.empty_like(x, device="meta"), requires_grad=False)
    return copy.deepcopy(module, empty)


def meta(*shape: int) -> Tensor:
    """An input for a module without data."""
    return torch.empty(shape, device="meta")


def set_plain(module: nn.Module, plain: bool) -> None:
    """Choose the form of all tuple projections in `module`: concatenated tuples, as published, or not."""
    for part in module.modules():
        if isinstance(part, TupleProjection):
            part.plain = plain


@contextmanager
def _explicit_attention() -> Iterator[None]:
    """Attention by its single products and without fused kernels, which hide work from both counters."""
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(fast)


def _rules(module: nn.Module) -> dict[type[nn.Module], Any]:
    """`RULES`, and of each kind of layer that thop does not know the rule of the kind that it is made of."""
    from thop.profile import register_hooks as known

    rules: dict[type[nn.Module], Any] = dict(RULES)
    for kind in {type(part) for part in module.modules()} - known.keys() - RULES.keys():
        if kind.__name__ in _NAMED:
            rules[kind] = _NAMED[kind.__name__]
        elif not issubclass(kind, nn.Sequential):
            made_of = next((base for base in kind.__mro__ if base in known), None)
            rules |= {} if made_of is None else {kind: known[made_of]}
    return rules


def _projection(module: TupleProjection, inputs: tuple[Tensor], output: Tensor) -> None:
    """A `TupleProjection`: P maps of n D, or R maps of D, a placed frame each."""
    tuples, placed = module.sums.shape
    each = tuples * module.in_features if module.plain else placed * module.dim
    _add(module, output.shape[:-2].numel() * each * module.out_features)


def _attention(
    module: nn.MultiheadAttention, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor]
) -> None:
    """The four linear maps of an attention module, which thop by itself counts as 0."""
    _add(module, (sum(x.numel() for x in inputs) + output[0].numel()) * module.embed_dim)


def _windows(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    """Attention within windows of torchvision, whose four linear maps are never called: thop sees none of them.

    Maps (N, H, W, C) are filled up to whole windows.
    """
    size: list[int] = module.window_size  # type: ignore[assignment]
    frames, *sides, channels = output.shape
    filled = math.prod(-(-side // window) * window for side, window in zip(sides, size, strict=True))
    _add(module, 4 * frames * filled * channels**2)


def _add(module: nn.Module, macs: int) -> None:
    total = module.total_ops  # thop's own buffer
    assert isinstance(total, Tensor)
    total += macs


RULES: dict[type[nn.Module], Any] = {TupleProjection: _projection, nn.MultiheadAttention: _attention}
# By name: torchvision is not loaded for them.
_NAMED = dict.fromkeys(("ShiftedWindowAttention", "ShiftedWindowAttentionV2"), _windows)
