"""import-weights: a released student or teacher of Lite-MKD (ACM MM 2023), or a TRX, into the registry.

Everything that can be wrong with a file is found before a run is opened, so nothing is half registered.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import ValidationError

from litemkd.config import Config
from litemkd.errors import CheckpointError, ConfigError
from litemkd.evaluation.accuracy import Classifier, Evaluation
from litemkd.evaluation.calibration import save_calibration
from litemkd.evaluation.embedding import fuse_all, student_classifier, teacher_classifier
from litemkd.modalities.registry import known_names
from litemkd.models.released import Released, read_released
from litemkd.models.released_names import Kind
from litemkd.models.student import Student
from litemkd.stages.build import (
    TeacherBundle,
    build_student,
    build_teacher,
    describe_student,
    describe_teacher,
)
from litemkd.stages.calibrate import calibrate
from litemkd.stages.cost import student_cost, teacher_cost
from litemkd.stages.export_weights import KEPT, STATE
from litemkd.stages.features import features_on_disk
from litemkd.stages.register import cost_tags, data_tags, measured, measured_tags, register_model_of
from litemkd.stages.results import log_test
from litemkd.stages.setup import Setup
from litemkd.storage.checkpoints import load_weights, save_model, save_tensors
from litemkd.storage.files import not_a_file

# Entries of files: the weights, and how far the training was. The second are those of CLIP-FSAR's code.
ENTRIES = ((STATE, "iteration"), ("model_state", "epoch"))
CROP, SHORT_SIDE = 224, 256  # pixels, of what released weights were trained on
LONGEST = 120  # characters of a reader's own words in a message
PUBLISHED_MODALITIES = "rgb,skeleton,flow"
PUBLISHED_SHIFT = "published-extract"


@dataclass(frozen=True)
class ReleasedFile:
    """A released file that was read and is in order.

    Attributes:
        sha256: of the whole file.
        iteration: of the training that made it.
        left_out: other entries of the file, which are not taken over.
    """

    path: Path
    sha256: str
    iteration: int
    left_out: tuple[str, ...]
    content: Released = field(repr=False)


@dataclass(frozen=True)
class ImportedModel:
    """A registered import.

    Attributes:
        name, version, run_id: where MLflow has it.
        val: results on the val episodes, None when they were not measured.
        tests: results on the test episodes, by number of shots.
    """

    name: str
    version: int | str
    run_id: str
    val: Evaluation | None
    tests: dict[int, Evaluation]


def load_released(
    path: Path | str,
    kind: Kind | None = None,
    *,
    modalities: str | None = None,
    shift: str | None = None,
) -> Student | TeacherBundle:
    """The model that a released file holds, in eval mode; nothing is registered.

    Args:
        path: of the file.
        kind: `student` or `teacher`, to be checked; either when not given.
        modalities: of a teacher, in the order of its fusion with commas between them.
        shift: of a teacher's fusion.

    Raises:
        CheckpointError, ConfigError: as `read_file` and `fit_config`.
    """
    file = read_file(Path(path), kind)
    return _build(fit_config(Config(), file, modalities=modalities, shift=shift), file)[0]


def read_file(path: Path, kind: Kind | None) -> ReleasedFile:
    """A released file; no code in it is run. `kind` is what it is said to be, None for either.

    Raises:
        CheckpointError: missing, no torch file, with code in it, or not what `read_released` accepts.
    """
    content = _load(path)
    entries = next((one for one in ENTRIES if isinstance(content, dict) and one[0] in content), ENTRIES[0])
    state = content.get(entries[0]) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(state, dict):
        held = type(content).__name__ if not isinstance(content, dict) else f"entries {_some(list(content))}"
        raise CheckpointError(
            f"{path}: holds {held}, not the entries iteration and {STATE}; a file as Lite-MKD or TRX release "
            "them would do"
        )
    iteration = content.get(entries[1])
    if not isinstance(iteration, int) or isinstance(iteration, bool):
        raise CheckpointError(f"{path}: its {entries[1]} is {iteration!r}; a whole number would do")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    left_out = tuple(str(key) for key in content if key not in entries)
    return ReleasedFile(path, sha256, iteration, left_out, read_released(state, kind, path))


def _load(path: Path) -> object:
    if path.exists() and (wrong := not_a_file(path)):
        raise CheckpointError(f"{path}: cannot be read ({wrong})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters about a strange file is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; the path of a released file would do") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # torch's reader raises nearly everything
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, UnpicklingError) else None
        if code:
            raise CheckpointError(
                f"{path}: asks to run {code[1]}, and code in a file is never run here; a file of tensors and "
                "plain values alone would do"
            ) from None
        said = str(error).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
        raise CheckpointError(
            f"{path}: no torch file of tensors and plain values, or a damaged one "
            f"({said.splitlines()[0][:LONGEST]}); the released file, fetched again, would do"
        ) from None


def _some(names: list[Any]) -> str:
    return ", ".join(map(str, names[:3])) + (", …" if len(names) > 3 else "")


def fit_config(
    config: Config,
    file: ReleasedFile,
    *,
    modalities: str | None = None,
    shift: str | None = None,
) -> Config:
    """The configuration with what the file says of the model, and with the input that it was trained on.

    Args:
        config: everything else.
        file: the model.
        modalities: of a teacher, in the order of its fusion; files do not hold it.
        shift: of a teacher's fusion.

    Raises:
        ConfigError: options that do not fit.
        CheckpointError: a model that cannot be described.
    """
    kind, section = file.content.kind, dict(file.content.section)
    if kind == "student":
        given = [f"--{name}" for name, value in (("modalities", modalities), ("shift", shift)) if value]
        if given:
            raise ConfigError([f"{' and '.join(given)}: given, but only a teacher has them"])
    else:
        fuses = file.content.fuses
        section["modalities"] = _modalities(
            modalities or (PUBLISHED_MODALITIES if fuses else "rgb"), fuses, known_names(config.data.modalities)
        )
        if shift and not fuses:
            raise ConfigError(["--shift: given, but the file holds a head only, without a fusion"])
        section["fusion"] = {**section["fusion"], "shift": shift or PUBLISHED_SHIFT}
    values = config.model_dump(mode="json")
    values["data"] |= {"frames": file.content.frames, "crop": CROP, "short_side": SHORT_SIDE}
    for key, value in section.items():
        old = values[kind].get(key)
        values[kind][key] = {**old, **value} if isinstance(old, dict) else value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(map(str, item["loc"]))
        if item["loc"][0] == "data":
            raise ConfigError([f"{key}: {item.get('input')!r} given; {item['msg']}"]) from None
        raise CheckpointError(
            f"{file.path}: a {file.content.words}: the configuration cannot describe it yet: "
            f"{key} = {item.get('input')!r}"
        ) from None


def _modalities(words: str, fuses: bool, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in words.split(",")]
    if not fuses and (len(names) != 1 or names[0] not in known):
        raise ConfigError(
            [
                f"--modalities: {words!r} given; one of {', '.join(known)} would do: the file holds a "
                "head only, which takes the features of one"
            ]
        )
    if not fuses:
        return names
    if len(names) != 3 or len(set(names)) != 3 or not set(names) <= set(known):
        raise ConfigError(
            [
                f"--modalities: {words!r} given; three of {', '.join(known)} with commas between them "
                f"would do, in the order of the fusion, for instance {PUBLISHED_MODALITIES}"
            ]
        )
    return names


def import_stage(setup: Setup, file: ReleasedFile) -> ImportedModel:
    """Rebuild the model, measure it where there is data, and register it.

    Args:
        setup: its configuration is from `fit_config`; without a data set the model is registered unmeasured
            and does not compete for `champion`.
        file: from `read_file`.

    Raises:
        DataError: features of a teacher's modalities that are missing or broken.
        TrackingError: the store refused.
    """
    content, config = file.content, setup.config
    model, described = _build(config, file)
    tags = {
        "litemkd.imported": "true",
        "litemkd.source_file": file.path.name,
        "litemkd.source_sha256": file.sha256,
        "litemkd.iteration": str(file.iteration),
        "litemkd.head": content.section["head"]["name"],
        **data_tags(config, None, content.kind),  # it was not trained on the data that it is measured on
    }
    if content.kind == "student":
        tags["litemkd.backbone"] = config.student.backbone.name
    else:
        tags["litemkd.modalities"] = "+".join(config.teacher.modalities)
        if content.fuses:
            tags["litemkd.shift"] = config.teacher.fusion.shift
    name, title = setup.registered_name(content.kind), f"Imported: {content.words}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        setup.run("import-weights", f"import {file.path.name}", tags) as run,
    ):
        folder = save_model(Path(scratch) / "model", model, described)
        save_tensors(folder / KEPT, content.kept)
        cost = _cost(config, content)
        run.log_metrics(cost, 0)
        tags |= cost_tags(cost)
        metrics: dict[str, float] = {}
        val, tests = None, dict[int, Evaluation]()
        if setup.prepared is not None:
            val, tests = _measure(setup, model)
            calibration = None
            if isinstance(model, Student) and (calibration := calibrate(setup, model)) is not None:
                save_calibration(folder, calibration)
            log_test(run, tests, title, calibration)
            run.log_metrics({"val/accuracy": val.accuracy.mean, "val/accuracy_ci95": val.accuracy.half}, 0)
            metrics = measured(val.accuracy, tests)
            tags |= measured_tags(val.accuracy, tests) | {"litemkd.protocol": setup.protocol(content.kind)}
        else:
            run.describe(f"{title}, from {file.path.name}; not measured yet.")
        version = register_model_of(run, name, content.kind, folder, 0, metrics, tags)
        return ImportedModel(name, version, run.run_id, val, tests)


def _build(config: Config, file: ReleasedFile) -> tuple[Student | TeacherBundle, dict[str, Any]]:
    content = file.content
    origin: dict[str, Any] = {"file": file.path.name, "sha256": file.sha256, "iteration": file.iteration}
    if content.names is not None:
        student = build_student(config.student, content.frames, 0, pretrained=False)
        load_weights(student, content.weights, file.path)
        return student.eval(), describe_student(config) | {"released": origin | asdict(content.names)}
    teacher = build_teacher(config.teacher, content.width, content.frames, 0)
    load_weights(teacher, content.weights, file.path)
    return TeacherBundle(teacher, {}).eval(), describe_teacher(config, teacher.fusion) | {"released": origin}


def _cost(config: Config, content: Released) -> dict[str, float]:
    if content.kind == "student":
        return student_cost(config, latency=False)
    return teacher_cost(config, width=content.width)


def _measure(setup: Setup, model: Student | TeacherBundle) -> tuple[Evaluation, dict[int, Evaluation]]:
    """On the val episodes, and on the test episodes by number of shots."""
    classify: dict[str, Classifier] = {}
    if isinstance(model, Student):
        student = model.to(setup.device)
        for split in ("val", "test"):
            classify[split] = student_classifier(student, setup.clips("rgb", split))
    else:
        teacher = model.teacher.to(setup.device)
        features = {one: features_on_disk(setup, one) for one in setup.config.teacher.modalities}
        for split in ("val", "test"):
            fused = fuse_all(teacher, {one: by_split[split] for one, by_split in features.items()})
            classify[split] = teacher_classifier(teacher, fused)
    (val,) = setup.evaluate(classify["val"], "val", "imported").values()
    return val, setup.evaluate(classify["test"], "test", "imported")


def import_words(config: Config, file: ReleasedFile) -> tuple[str, ...]:
    """What was found and how it is taken, a line each; `config` is from `fit_config`."""
    content = file.content
    lines = [f"{file.path}: {content.words}, iteration {file.iteration}"]
    if content.kind == "student":
        lines.append(
            f"input: {content.frames} frames of {CROP} x {CROP} pixels from 0 to 1, not normalised, as "
            f"published; to evaluate it: data.frames={content.frames} data.crop={CROP} "
            f"data.short_side={SHORT_SIDE}"
        )
    elif not content.fuses:
        (modality,) = config.teacher.modalities
        lines.append(f"modality, not told by the file: {modality} (--modalities), read from feature/{modality}")
    else:
        shift = config.teacher.fusion.shift
        why = {
            "published-extract": "as the released features were made, from which released students learned",
            "published-train": "as it was trained; the released features were made with published-extract",
        }.get(shift, "not one of the published ones")
        lines.append(f"modalities, not told by the file: {', '.join(config.teacher.modalities)} (--modalities)")
        lines.append(f"shift {shift}: {why} (--shift)")
    lines += content.notes
    if file.left_out:
        lines.append(f"not taken over from the file: {', '.join(file.left_out)}")
    return tuple(lines)
