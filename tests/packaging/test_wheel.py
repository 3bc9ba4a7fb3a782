"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from litemkd import __version__
from tests.packaging.environments import ROOT, bare, build_wheel, run, scratch_clone

RUNNER = ROOT / "litemkd-runtime" / "litemkd_runtime"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and this one's packages, but without the checkout."""
    home = tmp_path_factory.mktemp("an environment")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    (site,) = (home / "lib").glob("python*/site-packages")
    words = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    run(words, home, bare(python.parent))
    # A line of a .pth file adds a folder but not what .pth files in it name, as an editable install is.
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python.parent


def test_it_holds_the_package_and_what_has_a_name(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "litemkd").rglob("*.py")}
    experiments = {f"litemkd/{path.relative_to(ROOT)}" for path in (ROOT / "experiments").rglob("*.yaml")}
    spaces = {f"litemkd/spaces/{path.name}" for path in (ROOT / "tuning" / "spaces").glob("*.yaml")}
    information = {name for name in files if name.startswith(f"litemkd-{__version__}.dist-info/")}
    code |= {f"litemkd_runtime/{path.name}" for path in RUNNER.glob("*.py")} | {"litemkd_runtime/py.typed"}
    assert spaces
    assert experiments
    assert code | experiments | spaces <= files
    others = files - information - code - experiments - spaces
    tables = {f"litemkd/{room}/published.yaml" for room in ("comparison", "data")}
    assert others == {*tables, "litemkd/experiments/schema.json", "litemkd/report/page.html"}
    assert any(name.endswith("LICENSE") for name in information)


def test_the_page_on_an_index_needs_no_file_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        page = archive.read(f"litemkd-{__version__}.dist-info/METADATA").decode().partition("\n\n")[2]
    assert page.startswith("# litemkd")
    assert "gain by distillation" in page
    assert re.findall(r"\]\((?!https?:)[^)]*\)|<img", page) == []


@pytest.mark.slow
def test_it_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "an empty folder"
    empty.mkdir()
    shell = bare(installed)
    where = run([installed / "python", "-c", "import litemkd; print(litemkd.__file__)"], empty, shell)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert run([installed / "litemkd", "--version"], empty, shell).split()[-1] == __version__
    cost = json.loads(run([installed / "litemkd", "cost", "--json", "--config", "toy/smoke"], empty, shell))
    assert cost["cost/params_m"] > 0
    assert "--space" in run([installed / "litemkd", "search", "--help"], empty, shell)
    # By another name than any experiment's, and a base by name.
    (empty / "mine.yaml").write_text("base: toy/smoke\nseed: 7\n")
    data = run([installed / "litemkd", "prepare", "--config", "mine.yaml"], empty, shell)
    assert "train" in data
    assert {path.name for path in empty.iterdir()} >= {"data", "mlflow.db"}


def test_a_name_that_is_unknown_there_is_told_with_those_that_come_near(
    installed: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [installed / "litemkd", "cost", "--config", "experiments/toy/smoke.yaml"],
        cwd=tmp_path,
        env=bare(installed),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no such file and no experiment of this name; there are: toy/smoke" in done.stderr


@pytest.mark.slow
def test_a_copy_of_the_tree_works_without_being_installed(tmp_path: Path) -> None:
    """Nothing asks for the metadata of a package that is not installed: `python -m litemkd` in a copy."""
    copy = scratch_clone(tmp_path / "copy")
    words = "from importlib import metadata\n"
    words += "def version(name, real=metadata.distribution):\n"
    words += "    if name == 'litemkd': raise metadata.PackageNotFoundError(name)\n"
    words += "    return real(name)\n"
    words += "metadata.distribution = version\n"
    words += "import runpy, sys\nsys.argv[1:] = ['prepare', '--config', 'toy/smoke']\n"
    words += "runpy.run_module('litemkd', run_name='__main__')\n"
    run([sys.executable, "-c", words], copy, bare(PYTHONPATH=str(copy)))
    assert (copy / "data" / "toy").is_dir()
