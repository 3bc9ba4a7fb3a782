"""Settings of all tests, and the main job, which is run once for all that look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import tests.unsynced  # noqa: F401

if TYPE_CHECKING:
    from tests.job import Job

# Tests run beside others on few cores; threads that wait for each other there cost far more than they bring.
torch.set_num_threads(1)

# Folders and files that take longest. They come first, so that no core is left with one of them at the end. The
# first file begins with the main job, the second one does without.
LONG = ("search/test_search.py", "test_house.py", "search", "faults", "stages", "tracking", "test_team.py")
LONG += ("test_site.py", "browser", "packaging", "export", "models")
TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist would begin with the files of most tests
        config.option.loadscopereorder = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow", action="store_true", help="also what is marked slow: it takes as long as all else"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; --slow runs it"))

    def turn(item: pytest.Item) -> int:
        file = item.path.relative_to(TESTS)
        places = [LONG.index(str(one)) for one in (file, *file.parents) if str(one) in LONG]
        return min(places, default=len(LONG))

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of costs that only these tests have, and the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITEMKD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def stores_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have MLflow's migrations run once: every other new SQLite store of this process is a copy of that one."""
    from litemkd.tracking.store import opening

    first = tmp_path_factory.mktemp("store") / "mlflow.db"
    opening._make_tables(first)

    def copy(path: Path) -> None:
        shutil.copyfile(first, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "_make_tables", copy)
        yield


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """`litemkd distill` in an empty folder: what it printed, its runs, and the folder."""
    from tests.job import run_job

    own = tmp_path_factory.getbasetemp()
    session = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return run_job(session, tmp_path_factory.mktemp("home"))
