"""The names people type: commands, MLproject entry points, and the README agree."""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.commands.options import configured
from litemkd.config import Config
from litemkd.config.shipped import EXPERIMENTS
from litemkd.search.command import main as search

ROOT = Path(__file__).parents[1]
COMMANDS = {"prepare", "teacher", "features", "student", "distill", "evaluate", "cost"}
COMMANDS |= {"export", "import-weights", "export-weights", "search", "predict", "register", "compare"}
COMMANDS |= {"doctor", "show", "report", "watch"}
OF_THE_STORE = {"ui", "export-runs", "import-runs", "sync"}  # no stages: no configuration and no run
PLAIN = OF_THE_STORE | {"init", "completion"}  # without options of a configuration
COMMON = {"--config", "--set", "--overrides", "--data-root", "--seed", "--device"}


@pytest.fixture(scope="module")
def entry_points() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


# `litemkd search` passes all its words on to litemkd.search, which is loaded then.
STARTED = {**main.commands, "search": search}


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that `python -m litemkd WORDS` would run, and the values it would get; nothing is run."""
    name, command, rest = main.resolve_command(click.Context(main), words)
    assert name is not None
    command = STARTED[name]
    with command.make_context(name, rest) as context:
        return name, context.params


def test_the_commands() -> None:
    assert set(main.commands) == COMMANDS | PLAIN


def test_every_command_is_an_entry_point_and_the_main_one_distils(entry_points: dict[str, Any]) -> None:
    assert set(entry_points) == COMMANDS | {"main", "sync", "init"}
    assert entry_points["main"] == entry_points["distill"]


@pytest.mark.parametrize("name", sorted(COMMANDS | {"main", "sync", "init"}))
def test_what_an_entry_point_starts_is_understood(entry_points: dict[str, Any], name: str) -> None:
    entry = entry_points[name]
    needed = {"file": "some file.pt", "as": "teacher", "model": "models:/litemkd-toy-student/1"}
    needed |= {"support": "my examples", "query": "new clips", "dir": "my videos"}
    values = {key: parameter.get("default", needed.get(key)) for key, parameter in entry["parameters"].items()}
    values["overrides"] = "loss.temperature=2 seed=3"
    values |= {"source": "film.mp4"} if name == "watch" else {}
    line = entry["command"].format(**{key: shlex.quote(value) for key, value in values.items()})
    python, dash_m, package, *words = shlex.split(line)
    assert (python, dash_m, package) == ("python", "-m", "litemkd")
    command, params = parse(words)
    assert command == ("distill" if name == "main" else name)
    if name in PLAIN:
        return
    assert params["config_file"] == values["config"]
    assert EXPERIMENTS.find(values["config"]).is_file()
    assert (params["overrides"], params["seed"]) == ("loss.temperature=2 seed=3", 0)
    assert (params["data_root"], params["device"]) == (Path("data"), "auto")
    assert params.get("resume") is (False if "resume" in values else None)
    assert params.get("teacher") == ("auto" if "teacher" in params else None)
    # What the command has and the entry point lacks can still be given to `mlflow run`; not the reverse.
    options = {flag for parameter in STARTED[command].params for flag in parameter.opts}
    assert {key.replace("_", "-") for key in entry["parameters"]} <= {flag.lstrip("-") for flag in options}
    for key in needed.keys() & set(values):
        assert str(params["kind" if key == "as" else key] or "") == values[key]


def started(*words: str) -> Config:
    """The configuration that `litemkd prepare WORDS` works with; nothing is prepared."""
    seen: list[Config] = []

    @click.command()
    @configured
    @click.option("--dataset")
    @click.option("--videos")
    @click.option("--lists")
    def look(config: Config) -> None:
        seen.append(config)

    # Of prepare, and no part of how a configuration is found.
    own = {"derive", "contact_sheet", "resume", "allow_changes", "verify", "shard"}
    assert {option.name for option in look.params} | own == {
        option.name for option in main.commands["prepare"].params
    }
    look.main([*words], standalone_mode=False)
    return seen[0]


def test_a_data_set_starts_from_its_own_experiment_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ssv2 = started("--dataset", "ssv2_small", "--videos", "a b", "--lists", "2024")
    assert (ssv2.data.dataset, ssv2.data.flip) == ("ssv2_small", False)
    assert (ssv2.data.videos, ssv2.data.lists) == (Path("a b"), Path("2024"))
    assert started("--dataset", "msr_action3d").data.splits == "msr_fewshot"
    # Others start from the published settings; a file that is named is the one that is taken.
    mine = started("--dataset", "mine")
    assert (mine.data.dataset, mine.evaluation.shots, mine.data.short_side) == ("mine", (5, 1), 256)
    named = started("--dataset", "ucf101", "--config", "experiments/toy/smoke.yaml")
    assert (named.data.dataset, named.data.short_side) == ("ucf101", 40)
    # As MLproject passes what was not given.
    default = "experiments/toy/default.yaml"
    given = started("--config", default, "--dataset", "", "--videos", "", "--lists", "")
    assert (given.data.dataset, given.data.videos, given.data.lists) == ("toy", None, None)
    assert started("--config", default, "--dataset", "hmdb51").student.backbone.name == "resnet18"


@pytest.mark.parametrize("name", sorted(COMMANDS | PLAIN))
def test_help_explains_every_option(name: str) -> None:
    command = STARTED[name]
    shown = CliRunner().invoke(*((search, ["--help"]) if name == "search" else (main, [name, "--help"])))
    assert shown.exit_code == 0
    options = {flag for parameter in command.params for flag in parameter.opts}
    assert (options >= COMMON) == (name in COMMANDS)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):  # explained by the command's own text
            assert parameter.name is not None
            assert parameter.name.upper() in (command.help or "")
            continue
        assert isinstance(parameter, click.Option)
        assert parameter.help, parameter.name
        assert parameter.opts[0] in shown.output
    assert command.help
    assert command.help.splitlines()[0] in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("words", "value"), [([], False), (["--resume"], True), (["--resume", "false"], False)]
)
def test_a_switch_is_what_it_says(words: list[str], value: bool) -> None:
    assert parse(["student", *words])[1]["resume"] is value
    for teacher in ("new", "models:/litemkd-toy-teacher@champion", "models:/litemkd-toy-teacher/3"):
        assert parse(["distill", *words, "--teacher", teacher])[1]["teacher"] == teacher


@pytest.mark.parametrize(
    "words", [["student", "--resume", "maybe"], ["distill", "--teacher", "old"], ["train"]]
)
def test_a_mistake_on_the_command_line_is_told(words: list[str]) -> None:
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 2
    assert "Error:" in shown.output


def test_a_mistake_in_the_configuration_is_one_message_without_a_traceback() -> None:
    shown = CliRunner().invoke(main, ["cost", "--set", "student.widht=3", "--set", "episode.way=1"])
    assert shown.exit_code == 1
    assert "student.width" in shown.output
    assert "episode.way" in shown.output
    assert "Traceback" not in shown.output


def test_readme_is_short_and_says_how_to_begin(readme: str) -> None:
    assert len(readme.splitlines()) <= 100
    assert "mlflow run . -e distill" in readme
    assert "docs/cli.md" in readme


def test_what_is_made_of_the_commands_is_up_to_date() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    made = generate["page"]()
    for path, text in (
        (generate["PAGE"], made),
        (generate["PROJECT"], generate["project"]()),
        (generate["CONFIG"], generate["config_page"]()),
        (generate["SCHEMA"], generate["schema"]()),
        (generate["LEDGER"], generate["ledger_page"]()),
        (generate["REPRODUCE"], generate["reproduce_page"]()),
    ):
        assert path.read_text(encoding="utf-8") == text, "python docs/generate.py writes it anew"
    flags = {flag for command in STARTED.values() for parameter in command.params for flag in parameter.opts}
    assert "\\b" not in made  # what keeps click from joining lines is a character, not two
    missing = sorted(flag for flag in flags if flag.startswith("--") and f"`{flag}" not in made)
    assert not missing


def test_command_lines_in_the_documents_are_understood(readme: str) -> None:
    texts = [readme, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))]
    blocks = "\n".join(re.findall(r"^```(?:bash|sh)\n(.*?)^```", "\n".join(texts), re.MULTILINE | re.DOTALL))
    lines = [line.partition(" #")[0].partition(" | ")[0] for line in blocks.replace("\\\n", " ").splitlines()]
    lines = [line.replace("python tuning/search.py", "litemkd search") for line in lines]
    own = [shlex.split(line)[1:] for line in lines if line.startswith("litemkd ")]
    assert own
    for words in own:
        _, params = parse(words)
        if params.get("config_file") is not None and "mine" not in str(params["config_file"]):
            assert EXPERIMENTS.find(params["config_file"], ROOT).is_file(), words
    launched = [shlex.split(line.partition("mlflow run . ")[2]) for line in lines if "mlflow run . " in line]
    entries = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    assert launched
    for words in launched:
        assert words[words.index("-e") + 1] in entries
        assert all("=" in value for before, value in itertools.pairwise(words) if before == "-P")


def test_files_that_the_documents_point_at_are_there(readme: str) -> None:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
