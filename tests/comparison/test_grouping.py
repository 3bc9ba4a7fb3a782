"""Which runs count, and which of them stand together."""

from __future__ import annotations

import pytest

from litemkd.comparison.entries import DIGEST_TAG, Entry, read_entries
from litemkd.comparison.grouping import Column, Groups, group
from litemkd.errors import TrackingError
from litemkd.tracking import RunRecord
from tests.comparison.runs import record, without


def entries_of(*records: RunRecord) -> list[Entry]:
    entries, left = read_entries(records)
    assert not left
    return entries


def rows_of(groups: Groups) -> dict[str, list[str]]:
    return {row.title: [entry.seed for entry in row.entries] for row in groups.rows}


def test_what_does_not_count_says_why() -> None:
    dead = [record(status=status) for status in ("FAILED", "KILLED", "RUNNING")]
    silent = without(record(), DIGEST_TAG)
    vague = without(record(), "evaluation.test_episodes", "episode.way")
    seedless = without(record(), "seed")
    untested = record(accuracy={5: (float("nan"), 0.1)})
    entries, left = read_entries([*dead, silent, vague, seedless, untested, record(name="good")])
    assert [entry.record.name for entry in entries] == ["good"]
    assert [one.reason for one in left] == [
        "not finished: FAILED",
        "not finished: KILLED",
        "not finished: RUNNING",
        "does not say: data digest",
        "does not say: ways, test episodes",
        "does not say: seed",
        "no test accuracy recorded",
    ]


def test_older_runs_have_the_digest_in_their_protocol_and_one_accuracy() -> None:
    words = {
        "litemkd.protocol": "5-way 5-shot, 8 frames, 500 val episodes of seed 0, 1 query a class, data d417c8"
    }
    old = without(record(tags=words, params={"evaluation.shots": "[1, 5]"}), DIGEST_TAG)
    old = type(old)(**{**vars(old), "metrics": {"test/accuracy": 61.0, "test/accuracy_ci95": 0.4}})
    (entry,) = entries_of(old)
    assert entry.protocol["data digest"] == "d417c8"
    assert {shot: str(value) for shot, value in entry.accuracy.items()} == {1: "61.00 ± 0.40"}


def test_only_one_protocol_makes_the_columns_of_a_data_set() -> None:
    short = {"evaluation.test_episodes": 100}
    others = [record(5, digest="d2"), record(6, params=short), record(7, dataset="hmdb51", params=short)]
    groups = group(entries_of(*others, record(0), record(1)))
    assert groups.columns == (Column("hmdb51", 5), Column("ucf101", 5))
    assert groups.protocols["hmdb51"]["test episodes"] == "100"
    assert rows_of(groups) == {"resnet18, trx, distilled": ["7", "0", "1"]}
    assert {one.run_id: one.reason for one in groups.left_out} == {
        others[0].run_id: "other protocol than the columns of ucf101: data digest d2, not d1",
        others[1].run_id: "other protocol than the columns of ucf101: test episodes 100, not 10000",
    }


def test_of_repeated_runs_the_newest_counts() -> None:
    new, old = record(0, start=2.0), record(0, start=1.0)
    groups = group(entries_of(new, old, record(1)))
    assert groups.rows[0].entries[0].run_id == new.run_id
    ((left),) = groups.left_out
    assert (left.run_id, left.reason.split(":")[0]) == (old.run_id, "repeated")


def test_other_settings_are_another_row_named_by_what_differs() -> None:
    hot = {"loss.temperature": 2.0, "loss.kd": 0.1761234567}
    runs = [record(seed, params=params) for seed in (0, 1) for params in ({}, hot)]
    # Neither the loss of a student on labels alone, nor where and how fast it was computed, is a setting.
    runs += [record(seed, distilled=False, params=hot if seed else {"threads": 2}) for seed in (0, 1)]
    groups = group(entries_of(*runs))
    assert rows_of(groups) == {
        "resnet18, trx, labels only": ["0", "1"],
        "resnet18, trx, distilled, loss.kd=0.1761, loss.temperature=2.0": ["0", "1"],
        "resnet18, trx, distilled, loss.kd=1.0, loss.temperature=4.0": ["0", "1"],
    }
    assert not groups.left_out
    pooled = group(entries_of(*runs), pool=True)
    assert rows_of(pooled)["resnet18, trx, distilled"] == ["0", "0", "1", "1"]


def test_settings_may_differ_between_data_sets() -> None:
    slow = {"student.train.lr": 0.5}
    groups = group(entries_of(record(0), record(0, dataset="hmdb51", params=slow)))
    assert list(rows_of(groups)) == ["resnet18, trx, distilled"]


def test_any_key_groups() -> None:
    runs = [
        record(seed, head=head, params={"loss.temperature": t})
        for seed, head, t in [(0, "trx", 1.0), (0, "otam", 1.0), (0, "trx", 10.0), (0, "trx", 2.0)]
    ]
    groups = group(entries_of(*runs), by=["loss.temperature", "head"])
    assert [row.keys for row in groups.rows] == [
        ("1.0", "otam"),
        ("1.0", "trx"),
        ("2.0", "trx"),
        ("10.0", "trx"),
    ]
    assert group(entries_of(*runs), by=["litemkd.device"], pool=True).rows[0].keys == ("cpu, 1 thread",)
    with pytest.raises(TrackingError, match=r"--by los.temperature: no run has .*loss\.temperature"):
        group(entries_of(*runs), by=["los.temperature"])


def test_shots_are_chosen() -> None:
    both = record(0, accuracy={5: (80.0, 0.3), 1: (60.0, 0.4)})
    only = record(1)
    groups = group(entries_of(both, only), shots=[1])
    assert groups.columns == (Column("ucf101", 1),)
    assert [(one.run_id, one.reason) for one in groups.left_out] == [
        (only.run_id, "not tested with these shots")
    ]
