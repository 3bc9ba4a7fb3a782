"""Terms: what they declare becomes the configuration, one file makes one, and others may bring their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from litemkd.config import Config, LossConfig, digest_of, flatten, load_config
from litemkd.errors import ConfigError, LitemkdError
from litemkd.losses import D2M, TERMS, Term, setting
from litemkd.losses.lesson import Lesson
from litemkd.losses.presets import PRESETS
from litemkd.losses.term import NEEDS
from litemkd.search.space import read_space

ROOT = Path(__file__).parents[2]
OWN = '''
from __future__ import annotations

from typing import Literal

from litemkd.losses import Around, Term, setting


class Steep(Term):
    """How large the logits are."""

    power: float = setting(2.0, "of the logits", above=0, most=8)
    form: Literal["mean", "sum"] = setting("mean", "`mean`, `sum`")
    times: int | None = setting(None, "so often", least=1)

    def value(self, lesson):
        found = lesson.logits["label"]["frame"].abs() ** self.power
        return self.times_of(found.sum() if self.form == "sum" else found.mean())

    def times_of(self, value):
        return value if self.times is None else self.times * value

    def clashes(self, around: Around):
        return {"power": f"{self.power} given; with {around.way} ways 2 would do"} if self.power == 3 else {}


class Asking(Term):
    """It needs what is there, reads what is not asked for, or gives too much."""

    needs = ("teacher_logits",)
    form: str = "none"

    def value(self, lesson):
        return lesson.teacher_support if self.form == "reads" else lesson.teacher_logits


class Odd(Term):
    needs = ("teacher_logit",)

    def value(self, lesson):
        return lesson.targets


class Without(Term):
    """No value."""


class Named(Term):
    use: str = setting("x", "as the key that names a term")

    def value(self, lesson):
        return lesson.targets


class Foreign(Term):
    shape: Around = Around(5, 5)

    def value(self, lesson):
        return lesson.targets


def function():
    pass
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of terms in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_terms.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "broken_terms.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    yield "own_terms:Steep"
    sys.modules.pop("own_terms", None)


def lesson_of(**answers: torch.Tensor) -> Lesson:
    logits = torch.tensor([[[3.0, 1.0], [0.0, -2.0]]])
    return Lesson({"label": {"frame": logits}}, torch.tensor([[0, 1]]), answers=answers or None)


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return caught.value.problems


# What comes with litemkd.


def test_the_section_is_shown_and_dumped_as_before_terms_were_open() -> None:
    """Folders of checkpoints are named by the first, by the digest of the second studies and teachers."""
    assert repr(LossConfig()) == (
        "LossConfig(preset=None, ce=0.0625, ce_distill=0.0, kd=1.0, support=0.5, relation=0.0, feature=0.0, "
        "temperature=4.0, kd_form='kl', kd_parts='all', standardise_logits=False, decoupled_target=1.0, "
        "decoupled_others=8.0, dist_inter=1.0, dist_intra=1.0, support_form='published', "
        "support_branch='label', support_temperature=1.0, feature_form='projected', focal='none', "
        "focal_kd=0.0, focal_rest=None)"
    )
    assert digest_of(LossConfig()) == "a20e684d77746ad9"
    assert not any("terms" in key for key in flatten(Config()))


def test_a_loss_that_nobody_asked_for_weighs_nothing() -> None:
    assert {term.name: term().weight for term in TERMS if term().weight} == {
        "ce": 1 / 16,
        "kd": 1,
        "support": 0.5,
    }
    names = {term.name for term in TERMS}
    assert all(names <= preset.values.keys() for preset in PRESETS.values())


def test_what_a_term_may_need_is_what_a_lesson_answers() -> None:
    answered = {name for name, one in vars(Lesson).items() if isinstance(one, property)} - {"taught"}
    assert answered == set(NEEDS)
    for name in NEEDS:
        assert getattr(Lesson({}, torch.zeros(0), answers={name: 7}), name) == 7
        assert set(D2M.of(kd=1.0).needs) <= set(NEEDS)


def test_settings_of_no_term_are_refused() -> None:
    with pytest.raises(TypeError, match="no such settings of the loss: kdd"):
        D2M.of(kdd=1.0)


def run_python(folder: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_the_configuration_knows_the_terms_without_torch() -> None:
    code = "import sys, litemkd.cli\nfrom litemkd.config import load_config\n"
    code += "load_config(None)\nprint('torch' in sys.modules)"
    assert run_python(ROOT, code) == "False\n"


def test_a_file_is_all_that_a_new_term_takes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "litemkd", tmp_path / "litemkd", ignore=shutil.ignore_patterns("__pycache__"))
    new = OWN.partition("class Asking")[0].replace(
        '"""How large the logits are."""',
        'name = "steep"\n    weight: float = setting(0.0, "weight of how large the logits are", least=0)',
    )
    (tmp_path / "litemkd" / "losses" / "terms" / "steep.py").write_text(new, encoding="utf-8")
    code = (
        "import torch\n"
        "from litemkd.config import flatten, load_config\n"
        "from litemkd.errors import ConfigError\n"
        "from litemkd.losses.lesson import Lesson\n"
        "usual, config = load_config(None), load_config(None, ['loss.steep=0.5', 'loss.times=3'])\n"
        "print([flatten(usual)[f'loss.{key}'] for key in ('steep', 'power', 'form', 'times')])\n"
        "lesson = Lesson({'label': {'frame': torch.tensor([[[2.0, 0.0]]])}}, torch.tensor([[0]]))\n"
        "terms = [one.loss.d2m(lesson) for one in (usual, config)]\n"
        "print(sorted(terms[0].metrics), sorted(terms[1].metrics), float(terms[1].loss - terms[0].loss))\n"
        "print(load_config(None, ['loss.steep=1', 'loss.preset=d2m']).loss.steep)\n"
        "try:\n    load_config(None, ['loss.steep=-1', 'loss.power=9', 'loss.powr=1'])\n"
        "except ConfigError as error:\n    print(*error.problems, sep='\\n')\n"
        "try:\n    load_config(None, ['loss.power=3'])\n"
        "except ConfigError as error:\n    print(*error.problems)\n"
    )
    assert run_python(tmp_path, code).splitlines() == [
        "[0.0, 2.0, 'mean', None]",
        "['train/loss', 'train/loss_ce'] ['train/loss', 'train/loss_ce', 'train/loss_steep'] 3.0",
        "1.0",
        "loss.steep: -1 given; input should be greater than or equal to 0",
        "loss.power: 9 given; input should be less than or equal to 8",
        "loss.powr: no such key; did you mean `loss.power`?",
        "loss.power: 3.0 given; with 5 ways 2 would do",
    ]


# What others bring.


def test_a_term_from_outside_is_a_part_of_the_loss_and_of_the_parameters(own: str) -> None:
    config = load_config(None, [f"loss.terms.a={{use: '{own}', weight: 0.5}}", f"loss.terms.b.use='{own}'"])
    flat = {key: value for key, value in flatten(config).items() if key.startswith("loss.terms.")}
    assert flat == {
        "loss.terms.a.use": own,
        "loss.terms.a.weight": 0.5,
        "loss.terms.a.power": 2.0,
        "loss.terms.a.form": "mean",
        "loss.terms.a.times": None,
        "loss.terms.b.use": own,
        "loss.terms.b.weight": 1.0,
        "loss.terms.b.power": 2.0,
        "loss.terms.b.form": "mean",
        "loss.terms.b.times": None,
    }
    assert Config.model_validate(config.model_dump(mode="json")) == config
    terms = config.loss.d2m(lesson_of())
    assert terms.metrics["train/loss_a"] == terms.metrics["train/loss_b"] == 3.5  # (9 + 1 + 0 + 4) / 4
    assert float(terms.loss) == pytest.approx(float(D2M.of()(lesson_of()).loss) + 1.5 * 3.5)
    other = load_config(None, [f"loss.terms.a={{use: '{own}', power: 1}}"])
    assert len({digest_of(one.loss) for one in (config, other, Config())}) == 3
    assert len({repr(one.loss) for one in (config, other, Config())}) == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "{use: 'own_terms:Steep', weight: -1}",
            ".weight: -1 given; input should be greater than or equal to 0",
        ),
        ("{use: 'own_terms:Steep', power: 0}", ".power: 0 given; input should be greater than 0"),
        ("{use: 'own_terms:Steep', power: .inf}", ".power: inf given; input should be a finite number"),
        ("{use: 'own_terms:Steep', times: 0}", ".times: 0 given; input should be greater than or equal to 1"),
        ("{use: 'own_terms:Steep', form: mena}", ".form: 'mena' given; input should be 'mean' or 'sum'"),
        ("{use: 'own_terms:Steep', pwer: 1}", ".pwer: no such key; did you mean `loss.terms.mine.power`?"),
        ("{use: 'own_terms:Steep', power: 3}", ".power: 3.0 given; with 5 ways 2 would do"),
        (
            "{use: 'own_terms:Step'}",
            ".use: 'own_terms:Step' given; no Step in own_terms; did you mean `Steep`?",
        ),
        (
            "{use: 'own_terms:Odd'}",
            ".use: 'own_terms:Odd' given; it needs 'teacher_logit'; did you mean `teacher_logits`?",
        ),
        ("{use: 'own_terms:Without'}", "no method `value` in Without, which says how the term is computed"),
        ("{use: 'own_terms:Named'}", "it has a setting `use`, which names the term; another name would do"),
        (
            "{use: 'own_terms:Foreign'}",
            "its setting `shape` is of the type Around; float, int, bool, str, a Literal or a tuple of these",
        ),
        ("{use: 'own_terms:function'}", "that is a function; a subclass of litemkd.losses.Term would do"),
        ("{use: 'own_term:Steep'}", ".use: 'own_term:Steep' given; no module own_term in "),
        ("{use: 'broken_terms:X'}", "broken_terms cannot be imported: No module named 'nothing_of_that_name'"),
        ("{use: ':Steep'}", ".use: ':Steep' given; module:Class would do, such as my_terms:Margin"),
        (
            "{use: steep}",
            ".use: 'steep' given; no installed package offers a term of that name; module:Class would do",
        ),
        ("{weight: 1}", ": {'weight': 1} given; a mapping with `use`, the term as module:Class or "),
        ("3", ": 3 given; a mapping with `use`"),
    ],
)
def test_mistakes_in_a_term_from_outside(own: str, given: str, told: str) -> None:
    (problem,) = problems(f"loss.terms={{mine: {given}}}")
    assert problem.startswith("loss.terms.mine")
    assert told in problem


def test_names_and_all_mistakes_at_once(own: str) -> None:
    found = problems(
        f"loss.terms.kd.use='{own}'",
        f"loss.terms.a-b.use='{own}'",
        f"loss.terms.c={{use: '{own}', weight: x, power: -1}}",
        "loss.kd=-1",
    )
    assert found == [
        "loss.terms.kd: 'kd' given; a term that comes with litemkd; another name would do",
        "loss.terms.a-b: 'a-b' given; letters, digits and _ would do, since it names a metric",
        "loss.terms.c.weight: 'x' given; input should be a valid number, unable to parse string as a number",
        "loss.terms.c.power: -1 given; input should be greater than 0",
        "loss.kd: -1 given; input should be greater than or equal to 0",
    ]


def test_what_a_term_computes_wrongly_is_told(own: str) -> None:
    answers = {"teacher_logits": torch.zeros(1, 2, 2)}
    for form, told in (
        (
            "reads",
            r'reads lesson.teacher_support, which its `needs` do not name; needs = \("teacher_support",\)',
        ),
        (
            "none",
            r"the loss term mine is a tensor of shape \(1, 2, 2\); a single number, such as the mean, would do",
        ),
    ):
        loss = D2M.of(support=0.0, terms={"mine": {"use": "own_terms:Asking", "form": form}})
        with pytest.raises(LitemkdError, match=told):
            loss(lesson_of(**answers))
        assert set(loss(lesson_of()).values) == {"ce"}  # without a teacher it has nothing to say


def test_an_installed_package_offers_a_term_by_name(own: str, tmp_path: Path) -> None:
    installed = tmp_path / "theirs-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(
        f"[litemkd.losses]\nsteep = {own}\ngone = own_terms:Gone\n", encoding="utf-8"
    )
    sys.path.append(str(tmp_path))
    config = load_config(None, ["loss.terms={mine: {use: steep, power: 1}}"])
    assert config.loss.d2m(lesson_of()).metrics["train/loss_mine"] == 1.5
    (problem,) = problems("loss.terms={mine: {use: steeep}}")
    assert problem.endswith("no installed package offers a term of that name; did you mean `steep`?")
    (problem,) = problems("loss.terms={mine: {use: gone}}")
    assert "own_terms:Gone, which a package offers under that name, cannot be loaded: AttributeError" in problem


def test_a_search_changes_a_term_from_outside(own: str, tmp_path: Path) -> None:
    file, space = tmp_path / "mine.yaml", tmp_path / "space.yaml"
    file.write_text(f"loss: {{terms: {{mine: {{use: '{own}'}}}}}}\n", encoding="utf-8")
    space.write_text("loss.terms.mine.power: {float: [1, 8]}\nloss.kd: {float: [0, 2]}\n", encoding="utf-8")
    found = read_space(space)
    found.check(file)
    assert found.default(load_config(file)) == {"loss.terms.mine.power": 2.0, "loss.kd": 1.0}
    space.write_text("loss.terms.mine.power: {float: [1, 9]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.power: 9.0 is never possible: .* less than or equal to 8"):
        read_space(space).check(file)
    with pytest.raises(ConfigError, match=r"never possible: loss.terms.mine: .* a mapping with `use`"):
        read_space(space).check(None)


def test_a_plain_attribute_is_a_setting_too() -> None:
    class Plain(Term):
        far: float = 2.0
        near: float = setting(1.0, "of all", least=0)

    assert (Plain(near=3.0).far, Plain().weight) == (2.0, 1.0)
    with pytest.raises(AttributeError):
        Plain().far = 1.0
