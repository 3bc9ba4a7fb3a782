"""Addresses of stores and the reasons they give: one form, one line, and what was meant by a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from litemkd.errors import TrackingError
from litemkd.tracking import require_store, send_unsent, store, use_store
from litemkd.tracking.store.addresses import meant, normal
from litemkd.tracking.store.failures import one_line
from tests.tracking.test_unsent import left, points


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("http://runs.example.org:5000/", "http://runs.example.org:5000"),
        ("http://runs.example.org:5000//", "http://runs.example.org:5000"),
        ("HTTP://Me:Secret@Runs.Example.org:80/mlflow/", "http://Me:Secret@runs.example.org/mlflow"),
        ("https://runs.example.org:443", "https://runs.example.org"),
        ("https://runs.example.org:80", "https://runs.example.org:80"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("postgresql://me@host/Base/", "postgresql://me@host/Base/"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_one_store_has_one_address(given: str, same: str) -> None:
    assert normal(given) == same == normal(same)


def test_what_was_kept_for_an_address_with_a_slash_is_for_the_same_store(workdir: Path) -> None:
    use_store("http://127.0.0.1:9/")
    assert store.store_uri() == "http://127.0.0.1:9"
    left(*points("a", 1), store_of="http://127.0.0.1:9/")
    with pytest.raises(TrackingError, match="does not answer"):  # not: is for the store …, give --moved
        send_unsent()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("127.0.0.1:5055", "http://127.0.0.1:5055"),
        ("localhost:5000/", "http://localhost:5000/"),
        ("me:secret@runs.example.org:5000", "http://me:***@runs.example.org:5000"),
        ("[::1]:5055", "http://[::1]:5055"),
        ("runs.example.org", "https://runs.example.org"),
        ("http:/127.0.0.1:5055", "http://127.0.0.1:5055"),
        ("https:runs.example.org", "https://runs.example.org"),
        ("mlflow.db", "sqlite:///HERE/mlflow.db"),
        ("sqlite:/mlflow.db", "sqlite:////mlflow.db"),
        ("sqlite://mlflow.db", "sqlite:///HERE/mlflow.db"),
    ],
)
def test_an_address_that_lacks_its_beginning(given: str, wanted: str, workdir: Path) -> None:
    use_store(given)
    with pytest.raises(TrackingError) as told:
        require_store("toy")
    shown = given.rpartition("@")[2]
    wanted = wanted.replace("HERE", str(workdir))
    assert str(told.value) == (
        f"MLFLOW_TRACKING_URI: {shown!r} is no address of a store; did you mean {wanted}?"
    )
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///mlflow.db",
        "sqlite:////folder/x.db",
        "http://127.0.0.1:5055",
        "postgresql://host/base",
        "mlruns",
    ],
)
def test_an_address_that_is_one_is_taken(address: str) -> None:
    assert meant(address) is None


def test_a_folder_of_the_old_kind_is_told_in_a_line(workdir: Path) -> None:
    use_store("./mlruns")
    with pytest.raises(
        TrackingError, match=r"\./mlruns cannot be opened: it is a folder of files, which MLflow"
    ):
        require_store("toy")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if "
            "this flush is occurring prematurely)\n"
            "(sqlite3.OperationalError) attempt to write a readonly database\n"
            "[SQL: INSERT INTO runs VALUES (?)]\n[parameters: (1,)]\n(Background on this error at: https://x)",
            "attempt to write a readonly database",
        ),
        ("(psycopg.errors.UniqueViolation) duplicate key\nDETAIL: x", "duplicate key"),
        ("No such artifact: ''", "No such artifact: ''"),
        ("", "ValueError"),
    ],
)
def test_a_reason_is_the_line_that_says_it(said: str, line: str) -> None:
    assert one_line(ValueError(said)) == line
