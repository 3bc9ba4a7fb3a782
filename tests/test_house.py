"""The house rules, so that one `pytest` checks everything: lint, format, types, and who imports whom."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports", "--no-logo"],
}
MOST_PARAMETERS = 8


@pytest.mark.parametrize("check", CHECKS)
def test_house_rules(check: str) -> None:
    program, *words = CHECKS[check]
    tool = Path(sys.executable).parent / program  # of this environment, whether or not it is on the search path
    assert tool.is_file(), f"{program} is not installed beside this Python; pip install -e '.[test]' brings it"
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [tool, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(CHECKS[check])}\n{done.stdout}{done.stderr}"


def test_files_say_what_they_are() -> None:
    for path in sorted(path for package in ("litemkd", "tuning") for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        assert not text or text.startswith('"""'), f"{name} does not begin with what it is"


def test_functions_take_few_parameters() -> None:
    """Eight at most, options of commands among them: what belongs together is one object."""
    long = {}
    for path in sorted(
        path for package in ("litemkd", "benchmarks") for path in (ROOT / package).rglob("*.py")
    ):
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                given = one.args
                names = [x.arg for x in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                names += [x.arg for x in (given.vararg, given.kwarg) if x is not None]
                count = len([name for name in names if name not in ("self", "cls")])
                if count > MOST_PARAMETERS:
                    long[f"{path.relative_to(ROOT)}: {one.name}"] = count
    assert long == {}


def test_no_function_of_the_package_is_taken_for_a_test() -> None:
    """Pytest collects whatever is called `test_…` and imported into a file of tests."""
    for path in sorted((ROOT / "litemkd").rglob("*.py")):
        found = re.findall(r"^(?:async )?(?:def|class) ([tT]est\w*)", path.read_text(encoding="utf-8"), re.M)
        assert found == [], path.relative_to(ROOT)


def test_a_tag_of_runs_has_one_name_in_the_package() -> None:
    """Those that several modules use are written out in `tracking/tags` alone."""
    home = ROOT / "litemkd" / "tracking" / "tags.py"
    tags = re.findall(r'= ("[\w.]+")', home.read_text(encoding="utf-8"))
    assert len(tags) > 5
    for path in sorted((ROOT / "litemkd").rglob("*.py")):
        written = [tag for tag in tags if path != home and tag in path.read_text(encoding="utf-8")]
        assert written == [], path.relative_to(ROOT)
