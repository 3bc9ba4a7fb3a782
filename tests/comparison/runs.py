"""Runs as records, made up but with the names and parameters that the stages log."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from litemkd.config import Config, flatten
from litemkd.tracking import RunRecord

_DEFAULTS = {key: str(value) for key, value in flatten(Config()).items()}
_numbers = itertools.count()

Accuracies = Mapping[int, tuple[float, float]]


def record(
    seed: int = 0,
    *,
    backbone: str = "resnet18",
    head: str = "trx",
    distilled: bool = True,
    dataset: str = "ucf101",
    accuracy: Accuracies | None = None,
    gmacs: float = 400.0,
    digest: str = "d1",
    status: str = "FINISHED",
    stage: str = "student",
    start: float = 0.0,
    parent: str | None = None,
    name: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> RunRecord:
    """A run; `accuracy` by shots is (mean, half width), 5-shot 80 ± 0.3 when not given."""
    number = next(_numbers)
    found: dict[str, float] = {}
    for shot, (mean, half) in (accuracy or {5: (80.0, 0.3)}).items():
        found |= {f"test/accuracy_{shot}shot": mean, f"test/accuracy_ci95_{shot}shot": half}
    cost = {"gmacs_per_episode": gmacs, "gmacs_per_episode_plain": 1.1 * gmacs, "gflops_per_episode": 2 * gmacs}
    cost |= {"params_m": 11.5, "latency_ms_per_video": 20.0 + seed}
    named = {"stage": stage, "dataset": dataset, "backbone": backbone, "head": head, "data_digest": digest}
    named |= {"distilled": str(distilled).lower(), "device": "cpu, 1 thread"}
    chosen = {"seed": seed, "student.backbone.name": backbone, "student.head.name": head}
    chosen |= {"data.dataset": dataset, **(params or {})}
    return RunRecord(
        run_id=f"{number:032x}",
        name=name or f"{'distilled' if distilled else 'labels only'}: {backbone} + {head}, seed {seed}",
        experiment=f"litemkd/{dataset}",
        status=status,
        start_time=start,
        end_time=start + 1,
        parent_run_id=parent,
        tags={f"litemkd.{key}": value for key, value in named.items()} | dict(tags or {}),
        params=_DEFAULTS | {key: str(value) for key, value in chosen.items()},
        metrics=found | {f"cost/{key}": value for key, value in cost.items()} | dict(metrics or {}),
    )


def without(one: RunRecord, *keys: str) -> RunRecord:
    """The same run without some of its tags and parameters."""
    from dataclasses import replace

    kept = [{k: v for k, v in found.items() if k not in keys} for found in (one.tags, one.params)]
    return replace(one, tags=kept[0], params=kept[1])
