"""Runs as records, made up but with the names and parameters that the stages log."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from litemkd.config import Config, flatten
from litemkd.tracking import RunRecord

_DEFAULTS = {key: str(value) for key, value in flatten(Config()).items()}
_numbers = itertools.count()

Accuracies = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Made:
    """A run that is made up; `accuracy` by shots is (mean, half width), 5-shot 80 ± 0.3 when not given."""

    seed: int = 0
    backbone: str = "resnet18"
    head: str = "trx"
    distilled: bool = True
    dataset: str = "ucf101"
    accuracy: Accuracies | None = None
    gmacs: float = 400.0
    digest: str = "d1"
    status: str = "FINISHED"
    stage: str = "student"
    start: float = 0.0
    parent: str | None = None
    name: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def record(seed: int = 0, **about: Any) -> RunRecord:
    """A run, see `Made`."""
    made = Made(seed, **about)
    number, label = next(_numbers), "distilled" if made.distilled else "labels only"
    metrics: dict[str, float] = {}
    for shot, (mean, half) in (made.accuracy or {5: (80.0, 0.3)}).items():
        metrics |= {f"test/accuracy_{shot}shot": mean, f"test/accuracy_ci95_{shot}shot": half}
    gmacs = made.gmacs
    cost = {"gmacs_per_episode": gmacs, "gmacs_per_episode_plain": 1.1 * gmacs, "gflops_per_episode": 2 * gmacs}
    cost |= {"params_m": 11.5, "latency_ms_per_video": 20.0 + seed}
    tags = {"data_digest": made.digest, "distilled": str(made.distilled).lower(), "device": "cpu, 1 thread"}
    tags |= {key: getattr(made, key) for key in ("stage", "dataset", "backbone", "head")}
    params = {"seed": seed, "student.backbone.name": made.backbone, "student.head.name": made.head}
    params |= {"data.dataset": made.dataset, **made.params}
    return RunRecord(
        run_id=f"{number:032x}",
        name=made.name or f"{label}: {made.backbone} + {made.head}, seed {seed}",
        experiment=f"litemkd/{made.dataset}",
        status=made.status,
        start_time=made.start,
        end_time=made.start + 1,
        parent_run_id=made.parent,
        tags={f"litemkd.{key}": value for key, value in tags.items()} | dict(made.tags),
        params=_DEFAULTS | {key: str(value) for key, value in params.items()},
        metrics=metrics | {f"cost/{key}": value for key, value in cost.items()} | dict(made.metrics),
    )


def without(one: RunRecord, *keys: str) -> RunRecord:
    """The same run without some of its tags and parameters."""
    kept = [{k: v for k, v in found.items() if k not in keys} for found in (one.tags, one.params)]
    return replace(one, tags=kept[0], params=kept[1])
