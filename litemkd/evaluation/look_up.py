"""Classifiers that look episodes up in codes of a whole split.

Codes, by which episodes are matched, are several times as large as features and quickly made of them: they are
held in memory where they fit, and else made anew for each few episodes.

Where many episodes of one kind are to come and the head has tables of what they share
(`litemkd.models.heads.tuple_tables`), most are matched by these. A query whose two best classes are nearer to
each other than rounding could have brought them is matched without, so the predictions are the same ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litemkd.data.episodes import Episodes
from litemkd.models.heads import Code
from litemkd.models.heads.known import on_device
from litemkd.models.heads.tuple_attention import FoldedTRX
from litemkd.models.heads.tuple_tables import Classes, TRXTables, Work

CODED_AT_ONCE = 128  # clips whose features become codes
MATCHED_AT_ONCE = 32 << 20  # bytes of codes that episodes matched together take
GATHERED_AT_ONCE = 12 << 20  # bytes of rows of tables: what a processor keeps near
ON_A_GPU = 32  # times these, on a GPU
SURE = 64  # times the largest difference of logits that was seen; nearer ones are looked at again

Codes = Mapping[str, Code]  # by branch


@dataclass(frozen=True)
class Held:
    """How many videos there are, the bytes that may be held of them, and the device that holds them."""

    total: int
    in_memory: int
    device: torch.device

    @property
    def scale(self) -> int:
        """How much more is done at once than on a processor."""
        return ON_A_GPU if self.device.type == "cuda" else 1


class Tables:
    """What branches with TRX behind them share of all episodes, made when it is first used.

    Args:
        branches: their sum is the prediction.
        features: of the backbone, of all videos.
        labels: the class of each video, (V,).
    """

    def __init__(self, branches: Sequence[FoldedTRX], features: Callable[[], Tensor], labels: Tensor) -> None:
        self.branches, self.features, self.classes = branches, features, Classes.of(labels)

    @functools.cached_property
    def parts(self) -> list[TRXTables]:
        """The tables of each branch."""
        features = self.features()
        with torch.inference_mode():
            return [TRXTables(branch, features, self.classes) for branch in self.branches]

    def work(self, way: int, shot: int, queries: int) -> list[Work]:
        """What they take and save for episodes of a kind, by branch."""
        return [Work.of(branch, self.classes, way, shot, queries) for branch in self.branches]

    def logits(self, support: Tensor, query: Tensor) -> Tensor:
        """Logits (B, Q, W) of videos: supports (B, W, K) by class, and queries (B, Q)."""
        return torch.stack([part.logits(support, query) for part in self.parts]).sum(0)


class LookUp:
    """Logits of episodes by rows of a list of videos.

    Args:
        encode: codes of some videos of the list.
        match: logits (B, Q, W) of codes with leading axes (B, S) and (B, Q), and the supports' labels.
        held: how many videos there are, and what may be held of them.
        tables: of all videos, where the head has any.
    """

    def __init__(
        self,
        encode: Callable[[np.ndarray], Codes],
        match: Callable[[Codes, Tensor, Codes, int], Tensor],
        held: Held,
        tables: Tables | None = None,
    ) -> None:
        self.encode, self.match, self.held, self.tables = encode, match, held, tables
        self.each = sum(x.nbytes for code in encode(np.arange(1)).values() for x in code)  # bytes of a video

    @functools.cached_property
    def codes(self) -> Codes | None:
        """Codes of all videos, None where they take more memory than they may."""
        total = self.held.total
        return _encode_all(self.encode, total) if self.each * total <= self.held.in_memory else None

    def __call__(self, episodes: Episodes) -> Tensor:
        """Logits (B, Q, W)."""
        videos = episodes.support.shape[1] + episodes.query.shape[1]
        at_once = max(1, self.held.scale * MATCHED_AT_ONCE // (self.each * videos))
        return torch.cat([self._of_part(part) for part in episodes.parts(at_once)])

    def _of_part(self, part: Episodes) -> Tensor:
        codes, support, query, device = self.codes, part.support, part.query, self.held.device
        if codes is None:
            videos, support, query = part.compact()
            codes = self.encode(videos)
        support, labels = by_class(support, part.support_labels)
        return self.match(
            _take(codes, support, device),
            on_device(labels, device),
            _take(codes, query, device),
            part.way,
        )

    def for_many(self, episodes: int, way: int, shot: int, queries: int) -> Callable[[Episodes], Tensor]:
        """A classifier with the same predictions for so many episodes of a kind, `queries` in each in all."""
        if self.tables is None or way < 2:
            return self
        works = self.tables.work(way, shot, queries)
        saved = sum(episodes * (work.plain - work.each) - work.once for work in works)
        if saved <= 0 or sum(work.held for work in works) > self.held.in_memory:
            return self
        gathered = max(work.gathered for work in works)
        return _ByTables(self, self.tables, max(1, self.held.scale * GATHERED_AT_ONCE // gathered))


class _ByTables:
    """As `LookUp`, by tables where that leaves no doubt.

    How far the two are apart is seen on the first episodes, which are matched in both ways.
    """

    def __init__(self, exact: LookUp, tables: Tables, at_once: int) -> None:
        self.exact, self.tables, self.at_once = exact, tables, at_once
        self.apart: float | None = None

    def __call__(self, episodes: Episodes) -> Tensor:
        """Logits (B, Q, W)."""
        support, labels = by_class(episodes.support, episodes.support_labels)
        shot = support.shape[1] // episodes.way
        if not np.array_equal(labels, np.broadcast_to(np.arange(episodes.way).repeat(shot), labels.shape)):
            return self.exact(episodes)  # shots that are not equal
        rows = torch.from_numpy(support).to(self.exact.held.device).unflatten(1, (episodes.way, shot))
        query = torch.from_numpy(episodes.query).to(rows.device)
        parts = zip(rows.split(self.at_once), query.split(self.at_once), strict=True)
        found = torch.cat([self.tables.logits(*part) for part in parts])
        if self.apart is None:
            known = self.exact(episodes)
            least = 4 * torch.finfo(found.dtype).eps * float(known.abs().max())
            self.apart = max(float((found - known).abs().max()), least)
            return known
        best = found.topk(2, -1).values
        doubtful = ~(best[..., 0] - best[..., 1] > SURE * self.apart).all(-1)
        if bool(doubtful.any()):
            found[doubtful] = self.exact(episodes[doubtful.cpu().numpy()])
        return found


def by_class(support: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Supports (B, S) and their labels, class after class: then heads copy less."""
    order = labels.argsort(axis=1, kind="stable")
    return np.take_along_axis(support, order, axis=1), np.take_along_axis(labels, order, axis=1)


def _encode_all(encode: Callable[[np.ndarray], Codes], total: int) -> Codes:
    """Codes of all videos, written part by part into tensors of their full size."""
    whole: dict[str, Code] = {}
    for start in range(0, total, CODED_AT_ONCE):
        stop = min(start + CODED_AT_ONCE, total)
        for name, code in encode(np.arange(start, stop)).items():
            if start == 0:
                whole[name] = tuple(x.new_empty(total, *x.shape[1:]) for x in code)
            for everything, part in zip(whole[name], code, strict=True):
                everything[start:stop] = part
    return whole


def _take(codes: Codes, rows: np.ndarray, device: torch.device) -> Codes:
    """(B, N) rows of every tensor (V, …), as (B, N, …)."""
    at = on_device(rows, device)
    return {
        name: tuple(x.index_select(0, at.flatten()).unflatten(0, at.shape) for x in code)
        for name, code in codes.items()
    }
