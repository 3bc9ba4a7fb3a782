"""What several stages log in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from litemkd.config import Config, digest_of, flatten
from litemkd.data.clips import ClipSource
from litemkd.evaluation import Classifier, Evaluation, Interval
from litemkd.report.plots import confusion_matrix, learning_curves
from litemkd.sharing import evaluate_shared
from litemkd.shelf import Shelf
from litemkd.stages.prepare import Prepared
from litemkd.tracking import Run, model_name, register_model, stage_run
from litemkd.training import CheckpointFolder, Progress


class Recorder:
    """A tracker that passes metrics on and keeps them for the learning curves."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.points: dict[str, list[tuple[int, float]]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""
        self.run.log_metrics(metrics, step)
        for name, value in metrics.items():
            self.points.setdefault(name, []).append((step, value))

    def finish(self, progress: Progress, title: str | None) -> None:
        """Log the learning curves (if they have a title), the validations, and the accuracy the run stands for.

        MLflow shows the last value of a metric as the run's. The model that is kept is the best one on val, so
        where that is an earlier one its accuracy becomes the last point, after the curves are drawn.
        """
        if title is not None:
            curves = learning_curves(progress.history, self.points, title)
            self.run.log_figure(curves, "learning_curves.png")
        self.run.log_table([dict(record) for record in progress.history], "validations.json")
        accuracy, half = progress.best_accuracy, progress.best_ci95
        best = {"val/best_accuracy": accuracy, "val/best_accuracy_ci95": half}
        self.run.log_metrics(best, progress.best_episode)
        if progress.best_episode != progress.episodes:
            self.run.log_metrics({"val/accuracy": accuracy, "val/accuracy_ci95": half}, progress.episodes)
        self.run.set_tags({"best_episode": progress.best_episode})


def protocol(config: Config, data: Prepared, kind: Literal["teacher", "student"] = "student") -> str:
    """What val accuracies must share to be compared, in words. Students see RGB alone, whoever taught them."""
    digest = data.digest if kind == "teacher" else data.student_digest
    e = config.evaluation
    return (
        f"{config.episode.way}-way {e.shots[0]}-shot, {config.data.frames} frames, {e.val_episodes} val "
        f"episodes of seed {e.seed}, {e.queries} {'query' if e.queries == 1 else 'queries'} a class, "
        f"data {digest}"
    )


def checkpoint_folder(config: Config, stage: str, *identity: object) -> CheckpointFolder:
    """Where a stage keeps its training state: one folder for each thing it could be training."""
    digest = digest_of(stage, *[str(part) for part in identity])
    return CheckpointFolder(
        config.output / f"{config.data.dataset}-{stage}-{digest}", {"stage": stage, "digest": digest}
    )


def clip_source(config: Config, data: Prepared, modality: str, split: str, device: torch.device) -> ClipSource:
    """Clips of a split and modality."""
    return ClipSource(data.packs[modality], data.splits[split], crop=config.data.crop, device=device)


def features_shelf(config: Config) -> Shelf:
    """Where features of students' backbones are kept, for the next time that they are asked for."""
    return Shelf(config.dataset_dir / "embeddings")


def training_settings(config: Config) -> dict[str, object]:
    """What every training run depends on beside its own section: data, episodes, and how val chooses."""
    clips = ("dataset", "frames", "short_side", "crop", "flip", "crop_scale", "jitter")
    e = config.evaluation
    return {
        **{key: value for key, value in flatten(config.data).items() if key in clips},
        **flatten(config.episode),
        "selection": [e.shots[0], e.queries, e.val_episodes, e.seed],
    }


@contextmanager
def run_of(
    config: Config,
    data: Prepared | None,
    stage: str,
    name: str,
    device: torch.device,
    tags: Mapping[str, str] | None = None,
    **opening: Any,
) -> Iterator[Run]:
    """A run of a stage, with its data set (if it has one), configuration and environment logged.

    `opening`: further arguments of `litemkd.tracking.stage_run`.
    """
    about = f"{name} on {config.data.dataset}"
    kind: Literal["teacher", "student"] = "student" if stage in ("student", "evaluate") else "teacher"
    with stage_run(
        stage,
        dataset=config.data.dataset,
        name=f"{name}, seed {config.seed}",
        description=f"{about}." if data is None else f"{about}, {protocol(config, data, kind)}.",
        tags=tags or {},
        params=flatten(config),
        device=device_name(device),
        **opening,
    ) as run:
        log_data(run, config, data, stage)
        yield run


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads > 1)}"


def evaluate_split(
    config: Config,
    data: Prepared,
    classify: Classifier,
    split: str,
    shots: Sequence[int],
    episodes: int,
    label: str,
) -> dict[int, Evaluation]:
    """Evaluate a classifier on the fixed episodes of a split, for each number of shots."""
    e = config.evaluation
    return {
        shot: evaluate_shared(
            classify,
            data.sampler(config, split, shot, e.queries, e.seed),
            range(episodes),
            progress=f"{label}, {split}, {shot}-shot",
        )
        for shot in shots
    }


def accuracy_metrics(tests: Mapping[int, Interval]) -> dict[str, float]:
    """Metrics `test/…` of accuracies by number of shots; the first one has the plain names too."""
    metrics: dict[str, float] = {}
    for place, (shot, accuracy) in enumerate(tests.items()):
        for suffix in (f"_{shot}shot", *([""] if place == 0 else [])):
            metrics |= {f"test/accuracy{suffix}": accuracy.mean, f"test/accuracy_ci95{suffix}": accuracy.half}
    return metrics


def gain_metrics(gains: Mapping[int, Interval]) -> dict[str, float]:
    """Metrics `gain/…` of paired differences by number of shots."""
    metrics: dict[str, float] = {}
    for shot, gain in gains.items():
        metrics |= {f"gain/accuracy_{shot}shot": gain.mean, f"gain/accuracy_ci95_{shot}shot": gain.half}
    return metrics


def log_test(run: Run, evaluations: Mapping[int, Evaluation], label: str) -> None:
    """Log test results: metrics by number of shots (the first is the main one), tables, figures, raw values."""
    metrics = accuracy_metrics({shot: evaluation.accuracy for shot, evaluation in evaluations.items()})
    for shot, evaluation in evaluations.items():
        run.log_table(
            [
                {"class": name, "accuracy": round(value, 3), "queries": int(asked)}
                for (name, value), asked in zip(
                    evaluation.per_class.items(), evaluation.confusion.sum(1), strict=True
                )
            ],
            f"per_class_{shot}shot.json",
        )
        run.log_figure(
            confusion_matrix(evaluation, f"{label}, {shot}-shot: {evaluation.accuracy} %"),
            f"confusion_{shot}shot.png",
        )
        run.log_array(evaluation.accuracies.astype(np.float32), f"episode_accuracy_{shot}shot.npy")
    metrics["speed/episodes_per_second"] = float(
        np.mean([evaluation.episodes_per_second for evaluation in evaluations.values()])
    )
    run.log_metrics(metrics, 0)


def log_and_register(
    run: Run,
    config: Config,
    data: Prepared,
    kind: Literal["teacher", "student"],
    folder: Path,
    progress: Progress,
    test: Interval,
    tags: Mapping[str, str],
    title: str,
) -> int | str:
    """Log a saved model with what it reached and register it; returns the version, see `register_model`."""
    shared = protocol(config, data, kind)
    return register_model(
        run,
        folder,
        model_name(config.data.dataset, kind),
        name=kind,
        step=progress.best_episode,
        metrics={"val/accuracy": progress.best_accuracy, "test/accuracy": test.mean},
        tags=tags,
        description=f"{title}: {test} % on the test classes of {config.data.dataset}, {shared}.",
    )


def log_data(run: Run, config: Config, data: Prepared | None, context: str) -> None:
    """Log the data set, the configuration and the environment."""
    if data is not None:
        run.log_dataset(
            config.data.dataset,
            digest=data.digest,
            source=str(config.source_dir),
            context=context,
            profile={
                **{name: len(split.videos) for name, split in data.splits.items()},
                "student_digest": data.student_digest,
            },
        )
    run.log_dict(config.model_dump(mode="json"), "config.yaml")
    run.log_environment()


def model_folder(checkpoints: CheckpointFolder) -> Path:
    """Where the best model of a run is saved before it is logged."""
    return checkpoints.best.parent / "model"
