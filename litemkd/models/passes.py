"""How clips go through a backbone in training: at once or in parts, kept or computed again, compiled or not,
exact or rounded to eight bits.

Computing activations again in the backward pass (Chen et al., Training deep nets with sublinear memory cost,
2016) bounds memory. Batch norm would then take each batch into its running statistics twice; here it does not.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from litemkd.errors import LitemkdError
from litemkd.models.backbones import Backbone
from litemkd.models.experts import WholeClips
from litemkd.models.rounding import EightBits


class Passes:
    """The features of a backbone, with a bound on memory.

    Args:
        backbone: its weights are trained; nothing of it is changed.
        at_once: clips in one pass; None for all. Batch norm takes its statistics over one pass.
        recompute: keep no activations, compute them again in the backward pass: of one part after another, or
            of one block after another where all clips go at once. The result is the same.
        backend: of `torch.compile`; None does not compile.
        exact: episodes after which the backbone is rounded to eight bits, see `rounding`; None: never.
    """

    def __init__(
        self,
        backbone: Backbone | WholeClips,
        *,
        at_once: int | None = None,
        recompute: bool = False,
        backend: str | None = None,
        exact: int | None = None,
    ) -> None:
        self.exact = exact
        self.at_once, self.compiled = at_once, backend is not None
        self.run: Callable[[Tensor], Tensor] = backbone
        if backend is not None:
            self.run = torch.compile(backbone, backend=backend)
        elif recompute and at_once is None and isinstance(backbone, Backbone):
            self.run = lambda frames: backbone(frames, through=_by_block(backbone.features))
        elif recompute:
            self.run = _recomputed(backbone)

    def rounding(self, number: float = math.inf) -> contextlib.AbstractContextManager[object]:
        """How the backbone computes when episode `number` is trained on; by default, when it is tried.

        Val is read with rounding from the first time on, so that what is kept is best in that form.
        """
        return EightBits() if self.exact is not None and number >= self.exact else contextlib.nullcontext()

    def __call__(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> features of each frame, as the backbone's own.

        Raises:
            LitemkdError: `torch.compile` does not work on this machine.
        """
        parts = [frames] if self.at_once is None else frames.split(self.at_once)
        if not self.compiled:
            return torch.cat([self.run(part) for part in parts])
        from torch._dynamo.exc import TorchDynamoException  # takes a second, which only this needs to wait for

        try:
            return torch.cat([self.run(part) for part in parts])
        except TorchDynamoException as error:
            told = " ".join(str(error).partition("\n\n")[0].split())
            raise LitemkdError(
                f"train.compile: torch.compile does not work here ({told}); train.compile=false would do"
            ) from error


def _by_block(features: nn.Module) -> Callable[[Tensor], Tensor]:
    def through(x: Tensor) -> Tensor:
        for block in blocks(features):
            x = _recomputed(block)(x)
        return x

    return through


def blocks(features: nn.Module) -> list[nn.Module]:
    """The blocks that a network runs one after another; plain layers between them are taken together."""
    if type(features) is not nn.Sequential or not any(list(child.children()) for child in features):
        return [features]
    found: list[nn.Module] = []
    plain: list[nn.Module] = []
    for child in features:
        if list(child.children()):
            found += [nn.Sequential(*plain)] * bool(plain) + blocks(child)
            plain = []
        else:
            plain.append(child)
    return found + [nn.Sequential(*plain)] * bool(plain)


def _recomputed(module: nn.Module) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return checkpoint(
            module,
            x,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), statistics_kept(module)),
        )

    return run


@contextlib.contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm in training leaves its running statistics and its count of batches as they are."""
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
