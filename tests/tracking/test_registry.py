"""Versions are found again by tag; the aliases follow the val accuracy, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from litemkd import tracking
from litemkd.errors import TrackingError
from litemkd.tracking.registry.promotion import MARGIN, Candidate, choose

accuracies = st.none() | st.sampled_from([float("nan"), 50.0, 60.0, 60.5, 61.0, 61.5]) | st.floats(0, 100)
costs = st.none() | st.sampled_from([float("inf"), 10.0, 20.0, 72.5])
candidate_lists = st.lists(st.tuples(accuracies, costs, st.sampled_from([None, "a", "b"])), max_size=8).map(
    lambda rows: [Candidate(number, *row) for number, row in enumerate(rows, 1)]
)
numbers = st.none() | st.integers(1, 8)


def measured(candidate: Candidate) -> bool:
    return candidate.val_accuracy is not None and candidate.val_accuracy == candidate.val_accuracy


@given(candidate_lists, numbers, numbers)
def test_the_choice(candidates: list[Candidate], champion: int | None, lite: int | None) -> None:
    first, cheap = choose(candidates, champion=champion, lite=lite)
    competing = [c for c in candidates if measured(c)]
    competing = [c for c in competing if c.protocol == competing[-1].protocol]
    if not competing:
        assert (first, cheap) == (None, None)
        return
    by_number = {c.number: c for c in competing}
    assert first in by_number
    best = by_number[first].val_accuracy
    assert best == max(c.val_accuracy for c in competing)
    equals = [c.number for c in competing if c.val_accuracy == best]
    assert first == (champion if champion in equals else equals[0])
    near = [
        c
        for c in competing
        if c.cost is not None and c.cost < float("inf") and c.val_accuracy >= best - MARGIN - 1e-9
    ]
    if not near:
        assert cheap is None
    else:
        cheapest = [c for c in near if c.cost == min(other.cost for other in near)]
        assert by_number[cheap] in cheapest
        assert by_number[cheap].val_accuracy == max(c.val_accuracy for c in cheapest)
    # What was chosen stays chosen when asked again.
    assert choose(candidates, champion=first, lite=cheap) == (first, cheap)
    # A version that was never measured on val changes nothing.
    newcomer = Candidate(99, None, 0.1, "z")
    assert choose([*candidates, newcomer], champion=champion, lite=lite) == (first, cheap)


@given(candidate_lists)
def test_the_order_of_the_list_does_not_matter(candidates: list[Candidate]) -> None:
    assert choose(candidates) == choose(list(reversed(candidates)))


def test_a_point_below_is_near_enough() -> None:
    champion = Candidate(1, 61.1, 70.0, None)
    near = Candidate(2, 60.1, 30.0, None)  # 61.1 - 1.0 is 60.1 only after rounding
    assert choose([champion, near]) == (1, 2)
    assert choose([champion, dataclasses.replace(near, val_accuracy=60.09)]) == (1, 1)


def logged(checkpoint: Path) -> str:
    with tracking.stage_run("student", dataset="toy", name="x") as run:
        return run.log_model(checkpoint, name="student", step=1, metrics={})


def test_versions_aliases_and_files(client: MlflowClient, checkpoint: Path) -> None:
    name = tracking.model_name("toy", "student")
    assert name == "litemkd-toy-student"
    assert tracking.find_version(name, {"fingerprint": "f"}) is None
    assert tracking.promote(name) == tracking.Promotion(None, None, ())
    model_id = logged(checkpoint)

    def add(**tags: object) -> int:
        return tracking.register(model_id, name, {"protocol": "5w", **tags})

    first = add(val_accuracy=60.0, gmacs_per_episode=72.5, fingerprint="f")
    moved = tracking.promote(name)
    assert (moved.champion, moved.lite) == (first, first) == (1, 1)
    assert (
        moved.changes[0] == "litemkd-toy-student: version 1 (val 60.0 %, 72.5 GMACs an episode) is now champion"
    )

    add(val_accuracy=59.5, gmacs_per_episode=31.0, test_accuracy=99.0, fingerprint="f")
    moved = tracking.promote(name)
    assert (moved.champion, moved.lite) == (1, 2)  # the test accuracy has no say
    assert len(moved.changes) == 1
    assert "version 2 (val 59.5 %, 31.0 GMACs an episode) is now lite, before it version 1" in moved.changes[0]

    add(fingerprint="other")
    add(val_accuracy=60.0, gmacs_per_episode=72.5)
    assert tracking.promote(name) == tracking.Promotion(1, 2, ())  # the earlier one of equals stays

    add(val_accuracy=60.9)
    moved = tracking.promote(name)
    assert (moved.champion, moved.lite) == (5, 1)

    found = tracking.find_version(name, {"fingerprint": "f"})
    assert found is not None
    assert (found.version, found.model_id) == (2, model_id)
    assert client.get_run(found.run_id).info.run_name == "x"
    assert found.tags["litemkd.run"] == found.run_id
    client.set_model_version_tag(name, "2", "litemkd.test_accuracy", "58.0")
    assert tracking.get_version(name, 2).tags["litemkd.test_accuracy"] == "58.0"
    assert tracking.get_version(name, "champion").version == 5
    assert [version.version for version in tracking.list_versions(name)] == [5, 4, 3, 2, 1]

    folder = tracking.download(name, "lite")
    assert (folder / "weights.safetensors").read_bytes() == (checkpoint / "weights.safetensors").read_bytes()
    assert (folder / "model.json").exists()
    assert tracking.download(f"models:/{name}@lite") == tracking.download(f"models:/{name}/1") == folder


def test_another_protocol_starts_anew(client: MlflowClient, checkpoint: Path) -> None:
    name, model_id = tracking.model_name("toy", "teacher"), logged(checkpoint)
    tracking.register(
        model_id, name, {"protocol": "1000 episodes", "val_accuracy": 80.0, "gmacs_per_episode": 1.0}
    )
    tracking.promote(name)
    tracking.register(model_id, name, {"protocol": "10000 episodes", "val_accuracy": 70.0})
    moved = tracking.promote(name)
    assert (moved.champion, moved.lite) == (2, None)
    assert "version 1 is no longer lite" in moved.changes[1]
    assert dict(client.get_registered_model(name).aliases) == {"champion": 2}


def test_addresses() -> None:
    assert tracking.is_registered("models:/litemkd-toy-student@champion")
    assert tracking.is_registered("models:/litemkd-toy-student/12")
    for word in (
        "models:/litemkd-toy-student",
        "models:/m-0123",
        "runs/best",
        "models/name@x",
        "models:/a/b/1",
    ):
        assert not tracking.is_registered(word)
    with pytest.raises(TrackingError, match="models:/litemkd-toy-student@champion"):
        tracking.download("litemkd-toy-student")


def test_what_is_not_there(client: MlflowClient) -> None:
    with pytest.raises(TrackingError, match="m-none cannot be registered"):
        tracking.register("m-none", "litemkd-toy-student", {})
    with pytest.raises(TrackingError) as told:
        tracking.download("litemkd-toy-student", "champion")
    assert str(told.value) == (
        "models:/litemkd-toy-student@champion: no version of litemkd-toy-student is registered in "
        f"{tracking.store_uri()}; `litemkd student` of its data set trains and registers one, or set "
        "MLFLOW_TRACKING_URI to the store where it is"
    )


def test_an_alias_that_points_to_nothing(client: MlflowClient, checkpoint: Path) -> None:
    """It was taken away, or with its version; the rule sets it anew."""
    name, model_id = tracking.model_name("toy", "student"), logged(checkpoint)
    for accuracy in (50.0, 60.0, 70.0):
        tracking.register(model_id, name, {"val_accuracy": accuracy, "gmacs_per_episode": 1.0})
    tracking.promote(name)
    client.delete_model_version(name, "3")
    for version, words in {
        "champion": "no version has the alias champion",
        7: "there is no such version",
        "3": "there is no such version",
    }.items():
        with pytest.raises(TrackingError) as told:
            tracking.download(name, version)
        assert words in str(told.value)
        assert f"models:/{name}/2, models:/{name}/1 would do" in str(told.value)
        assert ("and `litemkd register` settles the alias anew" in str(told.value)) == (version == "champion")
    assert tracking.promote(name).champion == 2
    assert tracking.get_version(name, "champion").version == 2
