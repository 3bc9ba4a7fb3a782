"""register: models into the registry, with the tags that say what they are, and the cards made of these."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from litemkd import __version__
from litemkd.config import Config
from litemkd.errors import TrackingError, some
from litemkd.evaluation.accuracy import Evaluation, Interval
from litemkd.report.model_card import model_card, with_card
from litemkd.stages.build import load_model
from litemkd.stages.prepare import Prepared
from litemkd.stages.results import accuracy_metrics
from litemkd.stages.setup import Kind, Setup
from litemkd.storage.checkpoints import DESCRIPTION, read_description, save_model
from litemkd.tracking import (
    NUMBER,
    Run,
    RunRecord,
    attach,
    current_aliases,
    describe_version,
    find_version,
    get_version,
    logged_model_of,
    model_name,
    read_run,
    register,
    register_model,
)
from litemkd.training.loop import Progress

_KINDS = {"trial": "student", "student": "student", "teacher": "teacher"}  # by the stage of a run
_OF_RUNS = {"stage", "device", "state", "best_episode", "processes", "error", "stopped"}  # tags that stay there


def register_trained(
    run: Run,
    setup: Setup,
    kind: Kind,
    folder: Path,
    progress: Progress,
    tests: Mapping[int, Evaluation],
    tags: Mapping[str, str],
) -> int | str:
    """Log a saved model with what it reached, and make it the next registered version; returns its number.

    That of a run that has registered its model before it was interrupted is the one of then.
    """
    name = setup.registered_name(kind)
    if run.former is not None and (made := find_version(name, {"litemkd.run": run.run_id})) is not None:
        return made.version
    val = Interval(progress.best_accuracy, progress.best_ci95)
    tags = {**tags, **setup.fold_tags, **measured_tags(val, tests), "litemkd.seed": str(setup.config.seed)}
    return register_model_of(run, name, kind, folder, progress.best_episode, measured(val, tests), tags)


def register_model_of(
    run: Run,
    name: str,
    kind: Kind,
    folder: Path,
    step: int,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> int | str:
    """Log a saved model to its run and make it the next version of `name`, described by its card."""
    tags = {**tags, "litemkd.run": run.run_id}
    card = model_card(name, NUMBER, tags)
    return register_model(run, folder, name, name=kind, step=step, metrics=metrics, tags=tags, description=card)


def measured(val: Interval, tests: Mapping[int, Evaluation]) -> dict[str, float]:
    """The metrics of a logged model."""
    return {"val/accuracy": val.mean, "test/accuracy": next(iter(tests.values())).accuracy.mean}


def measured_tags(val: Interval, tests: Mapping[int, Evaluation]) -> dict[str, str]:
    """Tags of accuracies on val, and on test by number of shots; the first one has the plain names too."""
    metrics = accuracy_metrics({shot: test.accuracy for shot, test in tests.items()})
    return {
        "litemkd.val_accuracy": f"{val.mean:.4f}",
        "litemkd.val_accuracy_ci95": f"{val.half:.4f}",
        **{f"litemkd.{name.replace('/', '_')}": f"{value:.4f}" for name, value in metrics.items()},
    }


def cost_tags(cost: Mapping[str, float]) -> dict[str, str]:
    """Tags of a model's cost, from its metrics."""
    return {f"litemkd.{name}": f"{cost[f'cost/{name}']:.6f}" for name in ("gmacs_per_episode", "params_m")}


def error_tags(errors: Mapping[str, float]) -> dict[str, str]:
    """Tags of what is wrong with a model's probabilities, from its metrics."""
    return {f"litemkd.{name.replace('/', '_')}": f"{value:.4f}" for name, value in errors.items()}


def data_tags(config: Config, data: Prepared | None, kind: Kind) -> dict[str, str]:
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
        about["litemkd.data_digest"] = data.digest_for(kind)
    return about


def renew_cards(name: str) -> list[str]:
    """Give the versions that have an alias the card that their tags ask for; says which got another one."""
    told = []
    for number in sorted(set(current_aliases(name).values())):
        version = get_version(name, number)
        wanted = with_card(version.description, model_card(name, version.version, version.tags))
        if wanted != version.description:
            describe_version(name, version.version, wanted)
            told.append(f"{name}: version {version.version} has a new model card")
    return told


def check_run(run_id: str) -> tuple[RunRecord, str]:
    """A run whose model can be registered, and the name it is to have.

    Raises:
        TrackingError: no such run, of another stage, not finished, or registered already.
    """
    record = read_run(run_id)
    kind = _KINDS.get(record.stage or "")
    dataset = record.tags.get("litemkd.dataset")
    if kind is None or dataset is None:
        raise TrackingError(
            f"run {run_id} is of the stage {record.stage or 'of another program'}; a trial of a search, a "
            "student or a teacher would do"
        )
    if record.status != "FINISHED" or "val/best_accuracy" not in record.metrics:
        raise TrackingError(
            f"run {run_id} ({record.name}) is {record.status}: its weights were not chosen on val to the end; "
            "a finished run would do"
        )
    name = model_name(dataset, "teacher" if kind == "teacher" else "student")
    found = find_version(name, {"run": run_id})
    if found is not None:
        raise TrackingError(
            f"run {run_id} is registered already: {name} version {found.version}; `litemkd register --model "
            f"{name}/{found.version} --alias champion --reason …` promotes it by hand"
        )
    return record, name


def register_run(record: RunRecord, name: str) -> int:
    """Register the model that a run logged, or the best one of its checkpoints; returns the version's number.

    Args:
        record: from `check_run`.
        name: from there, too.

    Raises:
        CheckpointError: damaged checkpoints.
        TrackingError: neither a model nor checkpoints are left of the run.
    """
    tags = _tags(record)
    model_id = logged_model_of(record.run_id) or _log_checkpoint(record, tags)
    number = register(model_id, name, tags)
    describe_version(name, number, model_card(name, number, tags))
    return number


def _tags(record: RunRecord) -> dict[str, str]:
    """Of the version: what the run's tags, parameters and metrics say of its model."""
    known = {key: value for key, value in record.tags.items() if key.startswith("litemkd.")}
    tags = {key: value for key, value in known.items() if key.removeprefix("litemkd.") not in _OF_RUNS}
    for metric, value in record.metrics.items():
        if metric.startswith(("test/accuracy", "val/best_accuracy")):
            tags[f"litemkd.{metric.replace('/best_', '_').replace('/', '_')}"] = f"{value:.4f}"
    if {"cost/gmacs_per_episode", "cost/params_m"} <= set(record.metrics):
        tags |= cost_tags(record.metrics)
    if "seed" in record.params:
        tags["litemkd.seed"] = record.params["seed"]
    return tags | {"litemkd.run": record.run_id}


def _log_checkpoint(record: RunRecord, tags: dict[str, str]) -> str:
    """Log the weights that were best on val as a model of the run; returns its id."""
    folder = _checkpoints(record)
    dataset = tags["litemkd.dataset"]
    with tempfile.TemporaryDirectory() as scratch:
        saved = save_model(Path(scratch) / "model", load_model(folder), read_description(folder))
        run = attach(record.run_id, dataset)
        metrics = {"val/accuracy": record.metrics["val/best_accuracy"]}
        step = int(record.tags.get("litemkd.best_episode", "0"))
        model_id = run.log_model(saved, name=_KINDS[record.stage or ""], step=step, metrics=metrics, tags=tags)
        run.close(None)
    return model_id


def _checkpoints(record: RunRecord) -> Path:
    """The folder of a trial's checkpoints, which holds nothing else."""
    kind, output = _KINDS[record.stage or ""], Path(record.params.get("output", "checkpoints"))
    pattern = f"{record.tags['litemkd.dataset']}-{kind}-*"
    found = [folder for folder in sorted(output.glob(pattern)) if (folder / DESCRIPTION).is_file()]
    if record.stage == "trial" and len(found) == 1:
        return found[0]
    raise TrackingError(
        f"run {record.run_id} ({record.name}) logged no model, and {len(found)} folders {output / pattern} "
        "hold checkpoints; the one of a trial would do: a search keeps those of its best trials (--keep), in "
        "the folder where it was started"
    )
