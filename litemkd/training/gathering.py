"""Values of steps, left where they were computed until they are read: a device is asked for many at once."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from litemkd.errors import LitemkdError
from litemkd.runtime.distributed import group, sum_values

SECONDS = 2.0  # between two readings of a device
STEPS = 16  # the same where several processes have to read together


@dataclass(frozen=True)
class _Step:
    """A step that was not read yet: episodes seen after it, its sums, what needs no reading, and losses."""

    episodes: int
    sums: Mapping[str, Tensor | float]
    known: Mapping[str, float]
    losses: Mapping[int, Tensor]  # by the number of the first episode of a batch


@dataclass
class Gathered:
    """Steps whose values wait to be read.

    Attributes:
        label: of the training, for messages.
        device: where values are.
    """

    label: str
    device: torch.device
    waiting: list[_Step] = field(default_factory=list)
    read_at: float = field(default_factory=time.monotonic)

    def add(
        self,
        episodes: int,
        sums: Mapping[str, Tensor | float],
        known: Mapping[str, float],
        losses: Mapping[int, Tensor],
    ) -> None:
        """Take the values of a step: the sums over its batches, others, and the loss of each batch."""
        self.waiting.append(_Step(episodes, dict(sums), dict(known), dict(losses)))

    def due(self) -> bool:
        """Whether it is time to read: at once where values are in the host's memory."""
        if self.device.type == "cpu":
            return True
        if group().size > 1:
            return len(self.waiting) >= STEPS
        return time.monotonic() - self.read_at >= SECONDS

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """Episodes seen and metrics of each step that waited, in order; of several processes their sums.

        Raises:
            LitemkdError: a loss is not finite.
        """
        waiting, self.waiting = self.waiting, []
        self.read_at = time.monotonic()
        asked = [value for step in waiting for part in (step.losses, step.sums) for value in part.values()]
        numbers = iter(_numbers(asked))
        found: list[tuple[int, dict[str, float]]] = []
        for step in waiting:
            refuse_infinite(self.label, {first: next(numbers) for first in step.losses})
            found.append(
                (step.episodes, {**sum_values({name: next(numbers) for name in step.sums}), **step.known})
            )
        return found


def refuse_infinite(label: str, losses: Mapping[int, float]) -> None:
    """LitemkdError: a loss that is not finite, of the batch that begins at an episode."""
    for first, loss in losses.items():
        if not math.isfinite(loss):
            raise LitemkdError(
                f"{label}: the loss became {loss} at episode {first}; "
                "a smaller lr, a warm-up or clip_norm would do"
            )


def _numbers(values: list[Tensor | float]) -> list[float]:
    """Values as numbers, those of a device in one go."""
    tensors = [value.detach().double() for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(read) if isinstance(value, Tensor) else float(value) for value in values]
