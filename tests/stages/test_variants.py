"""Every head and every kind of loss through the main job, with the data and the teacher that are there."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys

import pytest
import torch

from litemkd.config import Config, load_config
from litemkd.errors import ConfigError
from litemkd.losses.presets import PRESETS, preset
from litemkd.models.heads import HEADS
from litemkd.models.student import DISTILL
from litemkd.stages.build import build_device, load_model, use_deterministic_kernels
from litemkd.tracking import download
from tests.helpers import usual_first
from tests.job import ROOT, SMOKE, Home, Job

# One of each kind of term; the rest of the presets differ in weights.
LOSSES = usual_first(
    ["d2m-focal"], ["kd-feature", "dkd", "dist", "d2m-both-supports", "kd-relation", "strm-d2m-one-branch"]
)


@pytest.fixture(scope="module")
def home(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return job.home.copy(tmp_path_factory.mktemp("home"))


def words_for(name: str) -> list[str]:
    """The loss and what it asks of the student."""
    chosen = PRESETS[name]
    settings = {"loss.preset": name, "student.branches": chosen.branches}
    settings |= {"student.head.name": chosen.head} if chosen.head else {}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.slow  # trx is the job itself, and others are in the commands of the documents
@pytest.mark.parametrize("name", sorted(set(HEADS) - {"trx"}))
def test_a_student_with_any_head_learns_by_itself_and_from_the_teacher(home: Home, name: str) -> None:
    made = home.made_by(lambda: home.must("distill", "--set", f"student.head.name={name}"))
    stages = [run.data.tags["litemkd.stage"] for run in made]
    assert sorted(stages) == ["distill", "evaluate", "evaluate", "student", "student"]
    for run in made:
        assert run.data.tags["litemkd.head"] == name
        if run.data.tags["litemkd.stage"] == "student":
            assert run.data.metrics["cost/gmacs_per_episode"] > 0
            assert run.data.metrics["test/accuracy"] >= 0
    with home.entered():
        model = load_model(download("litemkd-toy-student", newest(home)))
    assert isinstance(model.head, HEADS[name])


def test_a_student_may_have_a_backbone_of_any_library(home: Home) -> None:
    name = "timm:mobilenetv3_small_050"
    backbone = f"student.backbone={{name: '{name}', weights: none}}"
    made = home.made_by(lambda: home.must("distill", "--no-baseline", "--set", backbone))
    assert {run.data.tags["litemkd.backbone"] for run in made} == {name}
    with home.entered():
        model = load_model(download("litemkd-toy-student", newest(home)))
    assert model.backbone.out_channels == 288
    result = home.run(
        "distill", "--no-baseline", "--set", "student.backbone={name: 'timm:levit_128s', weights: none}"
    )
    assert result.exit_code == 1
    assert "data.crop: 36 given; timm:levit_128s takes no frames of 36 x 36 pixels (" in result.stderr


def test_a_teacher_may_have_another_head_too(home: Home) -> None:
    sets = ("teacher.head.name=strm", "teacher.expert.head.name=strm", "teacher.modalities=[depth]")
    result = home.must("teacher", *(word for one in sets for word in ("--set", one)))
    assert "teacher, 5-shot:" in result.output


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_learns_by_any_loss(home: Home, name: str) -> None:
    made = home.made_by(lambda: home.must("distill", "--no-baseline", *words_for(name)))
    (student,) = [run for run in made if run.data.tags["litemkd.stage"] == "student"]
    assert student.data.params["loss.preset"] == name
    values = {**PRESETS["labels"].values, **PRESETS[name].values}
    for term, metric in (
        ("kd", "kd"),
        ("support", "support"),
        ("relation", "relation"),
        ("feature", "feature"),
    ):
        assert (f"train/loss_{metric}" in student.data.metrics) == bool(values[term]), term
    with home.entered():
        model = load_model(download("litemkd-toy-student", newest(home)))
    assert (DISTILL in model.branches) == (PRESETS[name].branches == 2)


def test_a_term_of_ones_own_as_the_documents_show_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    ((code,), (experiment,)) = (
        re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S) for kind in ("python", "yaml")
    )
    (home.folder / "my_terms.py").write_text(code, encoding="utf-8")
    file = home.folder / "mine.yaml"
    file.write_text(experiment.replace("base: toy", f"base: {SMOKE}"), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    wrong = home.run("distill", "--set", "loss.terms.lead={margin: -1, frm: soft}", config=file)
    assert wrong.exit_code == 1
    for line in re.search(r"^```\n(  - loss.terms.*?)^```", text, re.M | re.S)[1].splitlines():
        assert line in wrong.output
    # Without `ce_distill`, which is in the sum and no metric.
    words = ("--no-baseline", "--config", str(file), "--set", "loss.ce_distill=0")
    made = home.made_by(lambda: home.must("distill", *words))
    (student,) = [run for run in made if run.data.tags["litemkd.stage"] == "student"]
    values = home.history(student)
    assert [step for step, _ in values["train/loss_lead"]] == [step for step, _ in values["train/loss_kd"]]
    assert all(math.isfinite(value) for _, value in values["train/loss_lead"])
    told = {key: value for key, value in student.data.params.items() if key.startswith("loss.terms.")}
    assert told == {
        "loss.terms.lead.use": "my_terms:Margin",
        "loss.terms.lead.weight": "0.5",
        "loss.terms.lead.margin": "2.0",
        "loss.terms.lead.form": "hinge",
    }
    first = {name: points[0][1] for name, points in values.items() if name.startswith("train/loss")}
    loss = load_config(SMOKE).loss.d2m
    weights = {f"train/loss_{name}": term.weight for name, term in loss.terms.items()} | {
        "train/loss_lead": 0.5
    }
    parts = [weights[name] * value for name, value in first.items() if name != "train/loss"]
    assert first["train/loss"] == pytest.approx(sum(parts), rel=1e-5)
    with home.entered():
        assert load_config(home.artifact(student, "config.yaml")).loss.terms["lead"].margin == 2.0


@pytest.mark.parametrize("document", ["heads.md", "losses.md"])
def test_the_commands_of_the_documents(home: Home, document: str) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    commands = [
        line for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()
    ]
    assert commands
    for line in commands:
        program, command, *words = shlex.split(line)
        assert program == "litemkd"
        home.must(command, *words, "--no-baseline")


def newest(home: Home) -> int:
    return max(int(one.version) for one in home.client.search_model_versions("name = 'litemkd-toy-student'"))


def test_the_names_of_the_published_code_work() -> None:
    ours, theirs = (
        load_config(SMOKE, [f"loss.preset={name}"]).loss for name in ("d2m-kl-labels", "fc_2_sup_klklcece")
    )
    assert ours.model_dump(exclude={"preset"}) == theirs.model_dump(exclude={"preset"})
    assert preset("fc_2_sup_klklcece") is PRESETS["d2m-kl-labels"]


def test_a_preset_replaces_what_the_file_says_and_yields_to_what_stands_beside_it(tmp_path) -> None:
    """The toy's file has a loss of its own, with weights that the preset does not name."""
    assert load_config(SMOKE).loss.feature > 0
    chosen = load_config(SMOKE, ["loss.temperature=7", "loss.preset=d2m"])
    assert chosen.loss.d2m.terms["feature"].weight == 0
    assert chosen.loss.d2m.terms["kd"].temperature == 7
    assert chosen.loss.d2m.terms["kd"].weight == 1
    file = tmp_path / "own.yaml"
    file.write_text(f"base: {SMOKE}\nloss: {{preset: dkd, decoupled_others: 2.0}}\n")
    terms = load_config(file).loss.d2m.terms
    assert (terms["kd"].kd_form, terms["kd"].decoupled_others) == ("decoupled", 2)
    assert terms["feature"].weight == 0


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["loss.preset=d2n"], "loss.preset: 'd2n' given; no such loss; did you mean `d2m`?"),
        (["loss.preset=qqq"], "no such loss; known: d2m, d2m-tempered,"),
        (["loss.preset=kd"], "loss.preset: 'kd' given, made for 1 branch; student.branches=1 would do"),
        (["loss.preset=strm-d2m"], "made for the head strm; student.head.name=strm would do"),
        (
            ["loss.preset=kd-feature", "student.branches=1", "student.width=64"],
            "student.width is 64, teacher.expert.width 128: make them equal, or `projected` would do",
        ),
        (["student.head.name=trx2"], "student.head.name: 'trx2' given; no such head; did you mean `trx`?"),
    ],
)
def test_mistakes_are_told_with_what_would_do(sets: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(SMOKE, sets)
    assert message in str(caught.value)


def test_deterministic_kernels_are_a_matter_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    build_device(Config(deterministic=True, device="cpu", threads=torch.get_num_threads()))
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    try:
        use_deterministic_kernels()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
