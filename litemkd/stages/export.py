"""export: a student as graphs for another runtime, checked on real clips, and tested as the student was.

Nothing is in the folder before the logits of real clips agree; what the test says is logged to a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litemkd import __version__
from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.errors import ExportError
from litemkd.evaluation.accuracy import Classifier, Evaluation, paired_difference
from litemkd.evaluation.calibration import as_dict
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.look_up import MATCHED_AT_ONCE
from litemkd.export.checking import Agreement, compare_logits, exported_logits, torch_logits
from litemkd.export.folder import CARD, PIXELS, SAMPLING, STORED, card, versions, write_description
from litemkd.export.licences import licence_of
from litemkd.export.measuring import measured
from litemkd.export.onnx_files import OPSET
from litemkd.export.quantising import Examples
from litemkd.export.runner import DESCRIPTION, Code, Recogniser, open_recogniser
from litemkd.export.writing import EXECUTORCH, FLOAT32, INT8, Form, write_graphs
from litemkd.models.folding import EvaluationForm
from litemkd.models.student import Student
from litemkd.runtime.progress import Bar
from litemkd.stages.loading import champion_of, load_fitting
from litemkd.stages.results import difference_metrics, log_test
from litemkd.stages.setup import Setup
from litemkd.storage.files import whole_folder
from litemkd.tracking import find_address

CHECKED = 2  # episodes of val, of each number of shots, that logits are compared on
ENCODED_AT_ONCE = 8  # clips


@dataclass(frozen=True)
class Asked:
    """What is to be exported, and how.

    Attributes:
        out: the folder that is made.
        model: see `litemkd.stages.loading.load_calibrated`; the champion when None.
        form: runtime, precision and sizes.
        episodes: of the test; those of the configuration when None, and no test for 0.
    """

    out: Path
    model: str | None = None
    form: Form = field(default_factory=Form)
    episodes: int | None = None


@dataclass(frozen=True)
class Compared:
    """A test of what was exported, and the paired difference to the student's own, in points."""

    test: Evaluation
    difference: Interval

    @property
    def points(self) -> str:
        """The difference in words."""
        return f"{self.difference.mean:+.2f} ± {self.difference.half:.2f} points"


@dataclass(frozen=True)
class Exported:
    """What was made.

    Attributes:
        folder: of the export.
        source: the student.
        agreement: with it, on real clips.
        tests: by number of shots; empty without a test.
        costs: metrics `cost/…`; empty without a test.
    """

    folder: Path
    source: str
    agreement: Agreement
    tests: Mapping[int, Compared]
    costs: Mapping[str, float]


def export_stage(setup: Setup, asked: Asked) -> Exported:
    """Write a student for another runtime, whole or not at all; then test and time what was written.

    Raises:
        CheckpointError: no such folder, or a model that is not a student of this configuration's clips.
        DataError: train has too few clips for int8.
        ExportError: a layer that the format does not hold, a package that is missing, logits that do not agree,
            int8 that loses too much, or something in the way of the folder.
        TrackingError: no such registered model.
    """
    source = asked.model or champion_of(setup.config)
    if asked.out.exists() and (not asked.out.is_dir() or any(asked.out.iterdir())):
        raise ExportError(f"--out {asked.out}: is there already, and not empty; another folder would do")
    tested = _tested(setup, asked)
    shown = setup.config.evaluation.shots if asked.form.shot is None else (asked.form.shot,)
    asked.form.refuse(asked.form.way or setup.config.episode.way, shown)
    int8 = asked.form.precision == INT8
    examples = Examples.of(setup.pictures("rgb", "train"), setup.pictures("rgb", "val")) if int8 else None
    student, described, calibration = load_fitting(source, setup.config, "export")
    form = EvaluationForm(student.cpu())
    with whole_folder(asked.out) as beside:
        about = _told(setup, source, described, asked)
        sizes = described["frames"], described["crop"]
        about |= write_graphs(beside, form, *sizes, asked.form, examples).described()
        about["made_with"] = versions(*asked.form.packages)
        write_description(beside, about)  # with which it can be run, and is checked
        agreement = _agreement(setup, form, open_recogniser(beside), asked)
        if asked.form.precision == FLOAT32:
            agreement.refuse(f"{source} as {asked.form.runtime}")
        about["calibration"] = None if calibration is None else as_dict(calibration)
        about["check"] = {
            "logits": agreement.logits,
            "largest_difference": agreement.apart,
            "largest_logit": agreement.largest,
            "same_class": agreement.same,
        }
        (beside / CARD).write_text(card(about), encoding="utf-8")
        write_description(beside, about)
    tests: Mapping[int, Compared] = {}
    costs: Mapping[str, float] = {}
    if tested is not None:
        tests, costs = _test(tested, student, about, source, asked)
    return Exported(asked.out, source, agreement, tests, costs)


def _tested(setup: Setup, asked: Asked) -> Setup | None:
    """The setup with the test that was asked for; None without one.

    Raises:
        ExportError: the test has other numbers of classes and shots than the graphs are for.
    """
    e, way = setup.config.evaluation, setup.config.episode.way
    if asked.episodes == 0:
        return None
    shots = tuple(shot for shot in e.shots if asked.form.shot in (None, shot))
    if asked.form.way not in (None, way) or not shots:
        raise ExportError(
            f"--way {asked.form.way} --shot {asked.form.shot}: the test has {way} ways, "
            f"{' and '.join(map(str, e.shots))} shots; these, or --episodes 0 for no test, would do"
        )
    count = e.test_episodes if asked.episodes is None else asked.episodes
    evaluation = e.model_copy(update={"test_episodes": count, "shots": shots})
    return replace(setup, config=setup.config.model_copy(update={"evaluation": evaluation}))


def _told(setup: Setup, source: str, described: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What `model.json` says beside its graphs."""
    student = described["student"]
    backbone = student["backbone"]
    return {
        "litemkd": __version__,
        "model": source,
        "dataset": setup.config.data.dataset,
        "backbone": backbone["name"],
        "head": student["head"]["name"],
        "temporal": student.get("temporal", "none"),
        "runtime": asked.form.runtime,
        "opset": OPSET if asked.form.runtime != EXECUTORCH else None,
        "precision": asked.form.precision,
        "frames": described["frames"],
        "short_side": described["short_side"],
        "crop": described["crop"],
        "sampling": SAMPLING,
        "stored": STORED,
        "pixels": PIXELS,
        "classes": {"protocol": "shown by examples", "way": asked.form.way, "shot": asked.form.shot},
        **({"most": asked.form.most} if asked.form.most else {}),
        "licence": licence_of(backbone["name"], backbone["weights"]),
    }


def _agreement(setup: Setup, form: EvaluationForm, recogniser: Recogniser, asked: Asked) -> Agreement:
    """How near logits of episodes of val clips are, some of them with fewer supports of a class."""
    e, way = setup.config.evaluation, asked.form.way or setup.config.episode.way
    split = setup.data.splits["val"]
    wanted, found = [], []
    for shot in [asked.form.shot] if asked.form.shot else e.shots:
        sampler = EpisodeSampler(split, way=way, shot=shot, queries=e.queries, seed=e.seed)
        episodes = sampler[range(CHECKED)]
        videos, support, query = episodes.compact()
        clips = setup.pictures("rgb", "val").pixels(videos)
        codes = recogniser.encode(clips)
        here = replace(episodes, support=support, query=query)
        for one in [here] if shot == 1 or asked.form.shot else [here, _uneven(here)]:
            wanted.append(torch_logits(form, clips, one))
            found.append(exported_logits(recogniser, codes, one))
    return compare_logits(wanted, found)


def _uneven(episodes: Episodes) -> Episodes:
    """The first of episodes of several shots, with a single support of its class 0."""
    labels = episodes.support_labels[0]
    kept = np.flatnonzero((labels != 0) | (np.cumsum(labels == 0) == 1))
    one = next(episodes.parts(1))
    return replace(one, support=one.support[:, kept], support_labels=one.support_labels[:, kept])


def _test(
    setup: Setup, student: Student, about: Mapping[str, Any], source: str, asked: Asked
) -> tuple[dict[int, Compared], dict[str, float]]:
    """Run the fixed test on what was written and on the student, time it, and log both to a run."""
    tags = {
        "litemkd.model": source,
        "litemkd.backbone": about["backbone"],
        "litemkd.head": about["head"],
        "litemkd.data_digest": setup.data.student_digest,
        "litemkd.precision": asked.form.precision,
        "litemkd.runtime": asked.form.runtime,
    }
    with setup.run("export", f"export {source}, {asked.form.runtime} {asked.form.precision}", tags) as run:
        if source.startswith("models:"):
            found = find_address(source)
            run.use_model(found.name, found.version)
        costs = measured(asked.out)
        tests = setup.evaluate(_classifier(setup, open_recogniser(asked.out)), "test", asked.form.runtime)
        own = setup.test_student(student.to(setup.device), "PyTorch")
        compared = {shot: Compared(test, paired_difference(test, own[shot])) for shot, test in tests.items()}
        log_test(run, tests, source)
        differences = {shot: one.difference for shot, one in compared.items()}
        run.log_metrics(costs | difference_metrics(differences), 0)
        told = [f"{one.points} {shot}-shot" for shot, one in compared.items()]
        run.describe(f"Against PyTorch on the same episodes: {', '.join(told)}.")
        run.log_text((asked.out / DESCRIPTION).read_text(encoding="utf-8"), DESCRIPTION)
    return compared, costs


def _classifier(setup: Setup, recogniser: Recogniser) -> Classifier:
    """Logits of test episodes by an exported student, each clip seen once."""
    clips = setup.pictures("rgb", "test")
    total = len(clips.split.videos)
    parts: list[Code] = []
    with Bar(total=total, desc="encoding", unit="clip") as bar:
        for start in range(0, total, ENCODED_AT_ONCE):
            videos = np.arange(start, min(start + ENCODED_AT_ONCE, total))
            parts.append(recogniser.encode(clips.pixels(videos)))
            bar.update(len(videos))
    codes = tuple(np.concatenate(one) for one in zip(*parts, strict=True))
    each = sum(x[0].nbytes for x in codes)

    def classify(episodes: Episodes) -> Tensor:
        at_once = max(1, MATCHED_AT_ONCE // (each * (episodes.support.shape[1] + episodes.query.shape[1])))
        logits = [exported_logits(recogniser, codes, part) for part in episodes.parts(at_once)]
        return torch.from_numpy(np.concatenate(logits))

    return classify
