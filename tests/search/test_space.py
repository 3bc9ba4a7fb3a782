"""The search space: what a file may say, what is drawn from it, and what becomes of that in a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.config import every_key, load_config
from litemkd.config.shipped import SPACES
from litemkd.errors import ConfigError
from litemkd.search.ranges import Choice, Numbers
from litemkd.search.space import Parameter, Space, condition_words, read_space

ROOT = Path(__file__).parents[2]
TOY = ROOT / "experiments" / "toy" / "default.yaml"
SHIPPED = sorted(SPACES.shipped().glob("*.yaml"))
EXPERIMENTS = [
    TOY,
    *(ROOT / "experiments" / name for name in ("msr_action3d/default.yaml", "ucf101/resnet18.yaml")),
]


def space_of(folder: Path, text: str) -> Space:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        space_of(folder, text)
    return caught.value.problems


def trials(seed: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))


def told_active(space: Space, values: dict[str, Any]) -> set[str]:
    """The settings that conditions ask for, found without regard to order."""
    active: set[str] = set()
    for _ in space.parameters:
        active |= {
            one.key
            for one in space.parameters
            if all(parent in active and values[parent] in wanted for parent, wanted in one.when.items())
        }
    return active


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.parent.name)
def test_shipped_spaces_fit_the_experiments(path: Path, experiment: Path) -> None:
    space = read_space(path)
    space.check(experiment)
    default = space.default(load_config(experiment))
    assert default is not None
    asked = told_active(space, space.values_of(default))
    if experiment == TOY:
        assert set(default) == asked, "the toy's own settings lie in every space"
    assert {parameter.key for parameter in space.parameters} >= {"student.train.lr"}


def test_there_are_three_and_they_say_what_they_are() -> None:
    assert [path.stem for path in SHIPPED] == ["architecture", "default", "loss"]
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_suggestions_become_the_configuration(path: Path, seed: int) -> None:
    space = read_space(path)
    study = trials(seed)
    trial = study.ask()
    values = space.suggest(trial)
    assert set(values) == told_active(space, values)
    assert all(values[one.key] in one.range for one in space.parameters if one.key in values)
    study.tell(trial, 0.0)
    assert space.values_of(study.trials[0].params) == values
    config = load_config(TOY, space.overrides(values))
    assert {key: every_key(config)[key] for key in values} == values
    again = {
        key: every_key(load_config(None, space.overrides({key: value})))[key]
        for key, value in values.items()
        if key not in ("student.backbone.name", "loss.preset")
    }
    assert again == {key: values[key] for key in again}


FLOATS = st.floats(1e-12, 1e12, allow_nan=False)


@st.composite
def numbers(draw: st.DrawFn) -> Numbers:
    kind = draw(st.sampled_from(["float", "int"]))
    log = draw(st.booleans())
    step: float | None
    if kind == "int":
        low, step = draw(st.integers(1, 1000)), draw(st.none() | st.integers(1, 50))
        return Numbers(
            "int",
            low,
            low + draw(st.integers(0, 99)) * (step or 1),
            log and step is None,
            None if log else step,
        )
    low, width = draw(FLOATS), draw(st.floats(0, 1e6))
    return Numbers("float", low, low + width, log)


@settings(max_examples=60, deadline=None)
@given(given=numbers(), seed=st.integers(0, 2**31))
def test_numbers_stay_in_their_range(given: Numbers, seed: int) -> None:
    key = "student.width" if given.kind == "int" else "loss.kd"
    space = Space((Parameter(key, given, {}),))
    study = trials(seed)
    for _ in range(5):
        values = space.suggest(study.ask())
        assert values[key] in given
        assert given.low <= values[key] <= given.high
        if given.step is not None:
            assert (values[key] - given.low) % given.step == 0
        assert every_key(load_config(None, space.overrides(values)))[key] == values[key]
    assert all(probe in given for probe in given.probes())


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=12))
def test_any_text_reaches_the_configuration(text: str) -> None:
    space = Space((Parameter("student.backbone.weights", Choice((text, "none")), {}),))
    (override,) = space.overrides({"student.backbone.weights": text})
    assert "\n" not in override
    assert load_config(None, [override]).student.backbone.weights == text


def test_conditions_come_first_and_may_follow_one_another(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "student.head.scale: {float: [1, 4], when: {student.head.distance: cosine}}\n"
        "student.head.distance:\n"
        "  {categorical: [cosine, euclidean], when: {student.head.name: [prototype, otam]}}\n"
        "student.head.name: {categorical: [trx, otam, prototype]}\n",
    )
    assert [one.key.split(".")[-1] for one in space.parameters] == ["name", "distance", "scale"]
    study, seen = trials(), set()
    for _ in range(40):
        values = space.suggest(study.ask())
        seen.add(tuple(values))
        assert set(values) == told_active(space, values)
    assert len(seen) == 3
    distance = space.parameters[1]
    assert str(distance.range) == "cosine | euclidean"
    assert condition_words(distance.when) == "student.head.name = prototype or otam"


def test_lists_and_null_are_choices(tmp_path: Path) -> None:
    text = (
        "student.head.tuples: {categorical: [[2], [2, 3]]}\n"
        "student.train.clip_norm: {categorical: [null, 5.0]}\n"
        "student.head.width: {int: [64, 128], when: {student.head.tuples: [2]}}\n"
        "student.width: {int: [64, 128], when: {student.head.tuples: [[2], [2, 3]]}}\n"
    )
    space, study = space_of(tmp_path, text), trials()
    for _ in range(10):
        trial = study.ask()
        values = space.suggest(trial)
        study.tell(trial, 0.0)
        assert ("student.head.width" in values) == (values["student.head.tuples"] == [2])
        assert "student.width" in values
        params = study.trials[-1].params
        assert params["student.head.tuples"] in ("[2]", "[2, 3]")
        assert space.values_of(params) == values
    (tuples, norm) = space.overrides({"student.head.tuples": [2, 3], "student.train.clip_norm": None})
    assert (tuples, norm) == ("student.head.tuples=[2, 3]", "student.train.clip_norm=null")


def test_the_default_is_a_trial_of_the_space(tmp_path: Path) -> None:
    space = read_space(SPACES.find("architecture"))
    config = load_config(TOY)
    default = space.default(config)
    study = trials()
    study.enqueue_trial(default)
    values = space.suggest(study.ask())
    assert values == space.values_of(default)
    assert load_config(TOY, space.overrides(values)) == config


def test_what_of_the_default_lies_outside_is_left_out_with_what_depends_on_it(tmp_path: Path) -> None:
    text = (
        "student.head.name: {categorical: [otam, strm]}\n"
        "student.head.width: {int: [64, 512], step: 64, when: {student.head.name: strm}}\n"
        "student.width: {int: [100, 300], step: 50}\n"
        "loss.temperature: {float: [1, 2]}\n"
    )
    space = space_of(tmp_path, text)
    assert space.default(load_config(TOY)) == {"loss.temperature": 1.0}  # 128 is no step of 50 from 100
    assert space.default(load_config(TOY, ["loss.temperature=3"])) is None


def test_a_study_of_another_space_is_told() -> None:
    with pytest.raises(ConfigError, match=r"default.yaml: loss.relation: in the study but not in the space"):
        read_space(SPACES.find("default")).values_of({"loss.kd": 1.0, "loss.relation": 1.0})


def test_digest_is_of_what_is_searched(tmp_path: Path) -> None:
    texts = [
        "loss.kd: {float: [1, 10], log: true}\nloss.ce: {float: [0, 1]}\n",
        "# the same\nloss.ce: {float: [0.0, 1.0], log: false}\nloss.kd:\n  log: true\n  float: [1.0, 1e1]\n",
        "loss.kd: {float: [1, 11], log: true}\nloss.ce: {float: [0, 1]}\n",
        "loss.kd: {float: [1, 10]}\nloss.ce: {float: [0, 1]}\n",
        "loss.kd: {float: [1, 10], log: true}\nloss.ce: {categorical: [0, 1]}\n",
        "loss.kd: {float: [1, 10], log: true}\nloss.ce: {categorical: [1, 0]}\n",
    ]
    digests = [space_of(tmp_path, text).digest for text in texts]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 5


def test_check_tells_what_the_experiment_never_takes(tmp_path: Path) -> None:
    text = "student.backbone.name: {categorical: [conv4, resnet18]}\nloss.preset: {categorical: [kd, d2m]}\n"
    space = space_of(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        space.check(None)
    assert len(caught.value.problems) == 2
    assert (
        "student.backbone.name: conv4 is never possible: student.backbone.weights" in caught.value.problems[0]
    )
    assert "loss.preset: kd is never possible" in caught.value.problems[1]
    text += "student.backbone.weights: {categorical: [none], when: {student.backbone.name: conv4}}\n"
    text += "student.branches: {categorical: [1], when: {loss.preset: kd}}\n"
    space_of(tmp_path, text).check(None)
    with pytest.raises(ConfigError, match=r"episode\.shots: no such key"):
        space.check(None, ["episode.shots=1"])


def test_backbones_of_any_library_are_searched_by_their_names(tmp_path: Path) -> None:
    text = "student.backbone.name: {categorical: [resnet18, 'torchvision:mobilenet_v2', timm:convnext_atto]}\n"
    path = tmp_path / "space.yaml"
    space_of(tmp_path, text).check(None)
    assert problems(tmp_path, text.replace("convnext_atto", "convnext_tinny")) == [
        f"{path}: student.backbone.name: timm:convnext_tinny given; no such backbone; did you mean "
        "`timm:convnext_tiny` or `timm:convnextv2_tiny` or `timm:convnext_tiny_hnf`?"
    ]
    assert problems(tmp_path, text.replace("resnet18", "'torchvision:resnet18'")) == [
        f"{path}: student.backbone.name: torchvision:resnet18 given, which is read as resnet18; that would do"
    ]


def test_the_example_of_the_documents_is_a_space(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "searching.md").read_text(encoding="utf-8")
    space = space_of(tmp_path, text.split("```yaml\n")[1].split("```")[0])
    space.check(TOY)
    assert len(space.parameters) == 9
