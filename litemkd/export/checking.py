"""Whether an exported student says what the student says, on real clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from litemkd_runtime import Code, Recogniser
from torch import Tensor

from litemkd.data.episodes import Episodes
from litemkd.errors import ExportError
from litemkd.models.folding import EvaluationForm
from litemkd.models.heads.base import group_by_class

MOST_APART = 1e-4  # of two logits, in float32
LARGE = 25.0  # of logits beyond this size the difference counts by their size: float32 has seven digits


@dataclass(frozen=True)
class Agreement:
    """How near the logits of two forms of a student are.

    Attributes:
        apart: the largest difference.
        largest: the largest logit, without sign.
        logits: how many were compared.
        same: share of queries whose class is the same.
    """

    apart: float
    largest: float
    logits: int
    same: float

    @property
    def allowed(self) -> float:
        """The largest difference that float32 may make."""
        return MOST_APART * max(1.0, self.largest / LARGE)

    def refuse(self, what: str) -> None:
        """ExportError: the difference is larger than float32 may make it."""
        if not self.apart <= self.allowed:  # NaN is refused, too
            raise ExportError(
                f"{what}: logits of real clips differ from PyTorch's by {self.apart:.2e}, the largest of "
                f"{self.logits} up to {self.largest:.1f} in size; at most {self.allowed:.1e} would do. "
                "Nothing was written"
            )


def compare_logits(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> Agreement:
    """The agreement of logits (…, W), array by array."""
    apart = [np.abs(one - other).max() for one, other in zip(wanted, found, strict=True)]
    same = [one.argmax(-1) == other.argmax(-1) for one, other in zip(wanted, found, strict=True)]
    return Agreement(
        float(np.max(apart)),
        float(max(np.abs(one).max() for one in wanted)),
        sum(one.size for one in wanted),
        float(np.concatenate([one.ravel() for one in same]).mean()),
    )


def table_of(labels: np.ndarray, way: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the supports of each class stand, for labels (B, S) in any order.

    Returns:
        rows (B, W, K): places in 0 … S - 1; beyond a class's supports its first one stands again;
        present (B, W, K): True where a place is a support of the class.
    """
    rows, present = group_by_class(torch.from_numpy(labels), way)
    return rows.numpy(), present.numpy()


def exported_logits(recogniser: Recogniser, codes: Code, episodes: Episodes) -> np.ndarray:
    """Logits (B, Q, W) of episodes whose rows are rows of codes (V, …), by an exported student."""
    rows, present = table_of(episodes.support_labels, episodes.way)
    support = np.take_along_axis(episodes.support[:, None], rows, 2)  # (B, W, K), videos
    held = tuple(x[support] for x in codes)
    return recogniser.match_table(present, held, tuple(x[episodes.query] for x in codes))


def torch_logits(form: EvaluationForm, clips: np.ndarray, episodes: Episodes) -> np.ndarray:
    """Logits (B, Q, W) of episodes whose rows are those of clips (V, T, H, W, 3), by the student itself."""
    with torch.inference_mode():
        by_branch = form.encode(
            form.frame_features(torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255)
        )
        support, query = (
            {name: tuple(x[torch.from_numpy(rows)] for x in code) for name, code in by_branch.items()}
            for rows in (episodes.support, episodes.query)
        )
        logits: Tensor = form.match(support, torch.from_numpy(episodes.support_labels), query, episodes.way)
    return logits.numpy()
