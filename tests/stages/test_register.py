"""`litemkd register`: what it shows, what it does, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.job import Home, Job

STUDENT, TEACHER = "litemkd-toy-student", "litemkd-toy-teacher"


@pytest.fixture
def home(job: Job, tmp_path: Path) -> Home:
    """A store with the job's two students; the first is the better one on val, the second costs less."""
    shutil.copy(job.home.folder / "mlflow.db", tmp_path / "mlflow.db")
    home = Home(tmp_path)
    for number, accuracy, cost in ((1, "60.0", "2.0"), (2, "59.5", "1.0")):
        home.client.set_model_version_tag(STUDENT, str(number), "litemkd.val_accuracy", accuracy)
        home.client.set_model_version_tag(STUDENT, str(number), "litemkd.gmacs_per_episode", cost)
    home.must("register")
    assert standing(home) == {"champion": 1, "lite": 2}
    return home


def standing(home: Home, name: str = STUDENT) -> dict[str, int]:
    aliases = home.client.get_registered_model(name).aliases
    return {alias: int(number) for alias, number in aliases.items()}


def test_by_rule_it_shows_and_does(home: Home) -> None:
    still = home.must("register").stdout.splitlines()
    teacher = standing(home, TEACHER)  # other tests may have trained a second one
    assert still == [
        f"{TEACHER}: nothing to move",
        f"{STUDENT}: nothing to move",
        f"{TEACHER}: champion version {teacher['champion']}, lite version {teacher['lite']}",
        f"{STUDENT}: champion version 1, lite version 2",
    ]
    home.client.set_model_version_tag(STUDENT, "2", "litemkd.val_accuracy", "62.0")
    plan = (
        f"{STUDENT}: champion: version 1 (val 60.0 %, 2.0 GMACs an episode) -> "
        "version 2 (val 62.0 %, 1.0 GMACs an episode), the best on val"
    )
    shown = home.must("register", "--dry-run").stdout.splitlines()
    assert plan in shown
    assert shown[-1] == f"{STUDENT}: champion version 1, lite version 2 (nothing was changed)"
    assert standing(home) == {"champion": 1, "lite": 2}
    done = home.must("register").stdout.splitlines()
    assert done.index(plan) < next(
        place for place, line in enumerate(done) if "version 2" in line and "is now" in line
    )
    assert done[-1] == f"{STUDENT}: champion version 2, lite version 2"
    assert standing(home) == {"champion": 2, "lite": 2}


def test_by_hand_and_back(home: Home) -> None:
    choice = ("--model", f"{STUDENT}/2", "--alias", "champion", "--reason", "it is for a | phone")
    assert "nobody is at a terminal to be asked" in home.run("register", *choice).stderr
    home.must("register", *choice, "--dry-run")
    assert standing(home) == {"champion": 1, "lite": 2}
    home.client.update_model_version(STUDENT, "2", "Good in the hall.")
    done = home.must("register", *choice, "--yes").stdout
    assert f"{STUDENT}: version 2 (val 59.5 %, 1.0 GMACs an episode) is now champion" in done
    assert f"{STUDENT}: version 2 has a new model card" in done
    card = home.client.get_model_version(STUDENT, "2").description
    assert card.startswith(f"# {STUDENT} version 2\n")
    assert card.endswith("\n---\nGood in the hall.")
    assert f'load_model(download("models:/{STUDENT}/2"))' in card

    kept = home.must("register").stdout
    assert (
        f"{STUDENT}: champion is pinned to version 2, chosen by hand (it is for a | phone); by the rule" in kept
    )
    assert standing(home) == {"champion": 2, "lite": 2}
    history = home.must("register", "--history").stdout.splitlines()
    assert history[-1].endswith(f"promotions of {TEACHER}, {STUDENT}")
    assert any(" hand " in line and line.endswith("by hand: it is for a | phone") for line in history)
    home.must("register", "--unpin")
    assert standing(home) == {"champion": 1, "lite": 2}
    again = home.must("register", "--model", f"models:/{STUDENT}@lite", *choice[2:], "--yes").stdout
    assert again.splitlines()[-1] == f"{STUDENT}: champion version 2, lite version 2"


@pytest.fixture
def refused(home: Home) -> Callable[..., str]:
    def run(*words: str) -> str:
        before = standing(home)
        result = home.run("register", *words)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        assert standing(home) == before
        return result.stderr.partition("litemkd register: ")[2].strip()

    return run


def test_what_is_refused(refused: Callable[..., str], home: Home) -> None:
    said = refused("--by", "test/accuracy")
    assert "--by: 'test/accuracy' given; nothing is chosen on the test classes" in said
    assert "versions are chosen by val/accuracy" in refused("--by", "cost/params_m")
    assert "given without --model" in refused("--alias", "lite")
    assert "--model: given without --reason" in refused("--model", f"{STUDENT}/1", "--alias", "lite")
    assert "given without --alias and --reason" in refused("--model", f"{STUDENT}/1")
    assert "one at a time would do" in refused("--run", "x", "--unpin")
    by_hand = ("--alias", "champion", "--reason", "why not", "--yes")
    assert "does not say which version" in refused("--model", STUDENT, *by_hand)
    assert "there is no such version" in refused("--model", f"{STUDENT}/77", *by_hand)
    home.client.set_model_version_tag(STUDENT, "2", "litemkd.chosen_on", "test")
    said = refused("--model", f"{STUDENT}/2", *by_hand)
    assert said.startswith(f"{STUDENT} version 2 was chosen on the test classes (tag litemkd.chosen_on)")
    home.client.delete_model_version_tag(STUDENT, "1", "litemkd.val_accuracy")
    assert "has no accuracy on val" in refused("--model", f"{STUDENT}/1", *by_hand)
    said = refused("--set", "data.dataset=other")
    assert "no version of litemkd-other-teacher or litemkd-other-student is registered here" in said
    for stage, told in (
        ("expert", "is of the stage expert"),
        ("student", f"registered already: {STUDENT} version"),
    ):
        run = home.runs(f"tags.`litemkd.stage` = '{stage}'")[0]
        assert told in refused("--run", run.info.run_id)
