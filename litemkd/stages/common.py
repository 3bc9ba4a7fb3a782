"""What several stages log in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from litemkd import __version__
from litemkd.config import Config, digest_of, flatten
from litemkd.data.packs.clips import ClipSource
from litemkd.errors import some
from litemkd.evaluation import Classifier, Evaluation, Interval
from litemkd.report.model_card import model_card
from litemkd.report.plots import confusion_matrix, learning_curves
from litemkd.sharing import evaluate_shared
from litemkd.shelf import Shelf
from litemkd.stages.prepare import Prepared
from litemkd.states import CheckpointFolder
from litemkd.tracking import (
    NUMBER,
    Resume,
    Run,
    describe_version,
    find_version,
    former_run,
    model_name,
    register,
    register_model,
    stage_run,
)
from litemkd.training import Progress

CHECKPOINTS = "litemkd.checkpoints"  # tag of a run: the folder of its training's checkpoints
# Settings that say where and how often, not what; and the seed, since runs of other seeds are other runs.
INCIDENTAL = frozenset({"output", "save_minutes", "keep_states", "device", "threads", "seed"})
INCIDENTAL |= {"deterministic", "data.root", "data.workers"}


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
        last = progress.history[-1]
        pairs = (("val/accuracy", last["accuracy"], accuracy), ("val/accuracy_ci95", last["ci95"], half))
        changed = {name: best for name, read, best in pairs if repr(read) != repr(best)}
        if changed:
            self.run.log_metrics(changed, progress.episodes)
        self.run.set_tags({"best_episode": progress.best_episode})
        self.run.describe(
            f"Best on val: **{Interval(accuracy, half)} %** after {progress.best_episode} of "
            f"{progress.episodes} training episodes."
        )


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
        config.output / f"{config.data.dataset}-{stage}-{digest}",
        {"stage": stage, "digest": digest},
        keep=config.keep_states,
        seconds=60 * config.save_minutes,
    )


def taken_over(run: Run, checkpoints: CheckpointFolder) -> CheckpointFolder:
    """The checkpoints of a run, with the state that it had elsewhere: changed settings give another folder."""
    before = Path((run.former or {}).get(CHECKPOINTS, checkpoints.folder))
    if before != checkpoints.folder:
        checkpoints.adopt(CheckpointFolder(before, {}))
    run.set_tags({CHECKPOINTS: checkpoints.folder})
    return checkpoints


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


@dataclass(frozen=True)
class Going:
    """How a command is to go on.

    Attributes:
        on: with the run of the same command that was interrupted, if there is one.
        changed: also where its settings were others.
        asked: what was asked for beside settings, by option; it is a part of what the command is.
    """

    on: bool = False
    changed: bool = False
    asked: Mapping[str, str] = field(default_factory=dict)


ANEW = Going()


def former_of(config: Config, data: Prepared, stage: str, name: str, going: Going) -> tuple[str, str] | None:
    """Id and status of the run that `run_of` would go on with, None where it would begin a new one."""
    resume = resume_of(config, data, stage, name, going)
    return former_run(config.data.dataset, stage, _named(config, name), resume)


def _named(config: Config, name: str) -> str:
    return f"{name}, seed {config.seed}"


def resume_of(config: Config, data: Prepared | None, stage: str, name: str, going: Going) -> Resume:
    """What a stage says of itself, so that it can be gone on with."""
    settings = {key: value for key, value in flatten(config).items() if key not in INCIDENTAL}
    command = {**going.asked, "seed": str(config.seed)}
    if data is not None:
        command["the data"] = data.digest
    return Resume(
        digest_of(stage, name, settings, command), command, going.on, going.changed, ignored=INCIDENTAL
    )


@contextmanager
def run_of(
    config: Config,
    data: Prepared | None,
    stage: str,
    name: str,
    device: torch.device,
    tags: Mapping[str, str] | None = None,
    *,
    going: Going | None = None,
    **opening: Any,
) -> Iterator[Run]:
    """A run of a stage, with its data set (if it has one), configuration and environment logged.

    `going`: whether to go on with an interrupted one; for outermost runs, inner ones follow these.
    `opening`: further arguments of `litemkd.tracking.stage_run`.
    """
    about = f"{name} on {config.data.dataset}"
    kind: Literal["teacher", "student"] = "student" if stage in ("student", "evaluate") else "teacher"
    with stage_run(
        stage,
        dataset=config.data.dataset,
        name=_named(config, name),
        description=f"{about}." if data is None else f"{about}, {protocol(config, data, kind)}.",
        tags=tags or {},
        params=flatten(config),
        device=device_name(device),
        resume=None if going is None else resume_of(config, data, stage, name, going),
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


def accuracy_words(evaluations: Mapping[int, Evaluation]) -> str:
    """Test results in a sentence, Markdown."""
    results = ", ".join(f"**{one.accuracy} %** {shot}-shot" for shot, one in evaluations.items())
    counts = sorted({len(one.accuracies) for one in evaluations.values()})
    return f"On the test classes: {results}, over {' and '.join(f'{count:,}' for count in counts)} episodes."


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
    run.describe(accuracy_words(evaluations))
    metrics["speed/episodes_per_second"] = float(
        np.mean([evaluation.episodes_per_second for evaluation in evaluations.values()])
    )
    run.log_metrics(metrics, 0)


def log_and_register(
    run: Run,
    config: Config,
    kind: Literal["teacher", "student"],
    folder: Path,
    progress: Progress,
    tests: Mapping[int, Evaluation],
    tags: Mapping[str, str],
) -> int | str:
    """Log a saved model with what it reached, and make it the next registered version; returns its number.

    That of a run that has registered its model before it was interrupted is the one of then.
    """
    registered = model_name(config.data.dataset, kind)
    if run.former is not None and (made := find_version(registered, {"litemkd.run": run.run_id})) is not None:
        return made.version
    accuracies = {shot: test.accuracy for shot, test in tests.items()}
    tags = {
        **tags,
        "litemkd.val_accuracy": f"{progress.best_accuracy:.4f}",
        "litemkd.val_accuracy_ci95": f"{progress.best_ci95:.4f}",
        **accuracy_tags(accuracies),
        "litemkd.seed": str(config.seed),
        "litemkd.run": run.run_id,
    }
    metrics = {"val/accuracy": progress.best_accuracy, "test/accuracy": next(iter(accuracies.values())).mean}
    card = model_card(registered, NUMBER, tags)
    return register_model(
        run,
        folder,
        registered,
        name=kind,
        step=progress.best_episode,
        metrics=metrics,
        tags=tags,
        description=card,
    )


def register_with_card(model_id: str, name: str, tags: Mapping[str, str]) -> int:
    """Make a logged model the next version of `name`, described by its card; returns its number."""
    number = register(model_id, name, tags)
    describe_version(name, number, model_card(name, number, tags))
    return number


def accuracy_tags(tests: Mapping[int, Interval]) -> dict[str, str]:
    """Tags of accuracies on test by number of shots; the first one has the plain names too."""
    metrics = accuracy_metrics(tests)
    return {f"litemkd.{name.replace('/', '_')}": f"{value:.4f}" for name, value in metrics.items()}


def cost_tags(cost: Mapping[str, float]) -> dict[str, str]:
    """Tags of a model's cost, from its metrics."""
    return {f"litemkd.{name}": f"{cost[f'cost/{name}']:.6f}" for name in ("gmacs_per_episode", "params_m")}


def data_tags(config: Config, data: Prepared | None, kind: Literal["teacher", "student"]) -> dict[str, str]:
    """Tags of what a model was trained on and sees, for its card."""
    about = {
        "litemkd.dataset": config.data.dataset,
        "litemkd.frames": str(config.data.frames),
        "litemkd.crop": str(config.data.crop),
        "litemkd.short_side": str(config.data.short_side),
        "litemkd.version": __version__,
    }
    if data is not None:
        classes = data.splits["train"].classes
        about["litemkd.train_classes"] = f"{len(classes)}: {some(classes, 60)}"
        about["litemkd.data_digest"] = data.digest if kind == "teacher" else data.student_digest
    return about


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
        if data.skipped:
            run.log_dict(data.card(), "data_card.json")
    run.log_dict(config.model_dump(mode="json"), "config.yaml")
    run.log_environment()


def model_folder(checkpoints: CheckpointFolder) -> Path:
    """Where the best model of a run is saved before it is logged."""
    return checkpoints.best.parent / "model"
