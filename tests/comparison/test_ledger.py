"""Published figures beside own runs of their protocol."""

from __future__ import annotations

import itertools
import json

import pytest

from litemkd.cli import main
from litemkd.comparison.comparison import Comparison, compare
from litemkd.comparison.entries import read_entries
from litemkd.comparison.gains import Gains
from litemkd.comparison.grouping import Column, group
from litemkd.comparison.ledger import Entry, ledger
from litemkd.comparison.published import ORDER, PUBLISHED, Published, facts
from litemkd.comparison.records import as_json
from litemkd.comparison.sheets import sheets_of
from litemkd.config import load_config
from litemkd.config.shipped import EXPERIMENTS
from litemkd.models.catalogue import HEAD_SETTINGS
from litemkd.tracking import RunRecord
from tests.comparison.runs import record


def compared(*records: RunRecord) -> Comparison:
    entries, left = read_entries(records)
    return compare(group(entries), Gains(entries, [], lambda run_id, shot: None), left)


def row_of(method: str, backbone: str) -> Published:
    (row,) = [row for row in PUBLISHED if (row.method, row.backbone) == (method, backbone)]
    return row


def test_own_runs_stand_beside_claims_of_their_protocol() -> None:
    mine = [record(seed, accuracy={5: (93.0 + seed, 0.2), 1: (80.0, 0.3)}) for seed in range(3)]
    labels = [record(0, distilled=False, accuracy={5: (90.0, 0.2)})]
    ledger_of = {
        (one.row.method, one.row.backbone, one.column.shot): one for one in ledger(compared(*mine, *labels))
    }
    distilled = ledger_of["Lite-MKD", "resnet18", 5]
    assert distilled.words[3:] == ("94.78", "P", "94.00 ± 2.48 (3)", "-0.78 ± 2.48", "")
    assert ledger_of["student, labels only", "resnet18", 5].words[5] == "90.00 ± 0.20 (1)"
    # Of another backbone, with other ways, or of a method that is not here there is nothing beside.
    assert ledger_of["TRX", "resnet50", 5].words[5:] == ("–", "–", "no run of this protocol in the store")
    assert ledger_of["GgHM", "resnet50", 1].words[5:] == ("–", "–", "not run here: no such method")
    three = compared(record(params={"episode.way": 3}))
    assert not any(one.cell for one in ledger(three))
    assert ledger(compared(record(dataset="mine"))) == []


def test_the_ledger_is_in_tables_and_json() -> None:
    comparison = compared(record(accuracy={5: (94.0, 0.2)}))
    (sheet,) = [sheet for sheet in sheets_of(comparison, published=True) if sheet.title.startswith("Ledger")]
    assert (
        len(sheet.rows)
        == len(ledger(comparison))
        == sum(dataset == "ucf101" for row in PUBLISHED for dataset, _ in row.accuracy)
    )
    values = json.loads(as_json(comparison, published=True))["ledger"]
    (one,) = [value for value in values if value["rerun"]]
    assert one["difference"] == pytest.approx(94.0 - 94.78)
    assert one["run"] == "litemkd distill --config ucf101/resnet18"
    assert not any(sheet.title.startswith("Ledger") for sheet in sheets_of(comparison))


def test_without_runs_every_figure_is_listed() -> None:
    entries = ledger()
    assert len(entries) == sum(len(row.accuracy) for row in PUBLISHED)
    assert {one.column.dataset for one in entries} == set(ORDER)
    assert Entry(row_of("MoLo", "resnet50"), Column("ssv2_full", 1), None).words[3] == "56.6"


def test_what_is_said_of_a_figure_is_known() -> None:
    trusts = set(facts()["trusts"])
    for row in PUBLISHED:
        assert row.trust
        assert set(row.trust.split(", ")) <= trusts, row.method
        assert {dataset for dataset, _ in row.accuracy} <= set(ORDER)
        assert all(20 < value < 100 for value in row.accuracy.values())
        assert row.head == "–" or row.head in HEAD_SETTINGS, row.method


@pytest.mark.parametrize(
    "row", [row for row in PUBLISHED if row.run], ids=lambda row: f"{row.method} {row.backbone}"
)
def test_commands_train_what_the_row_says(row: Published) -> None:
    for dataset, shot in row.accuracy:
        _, command, *words = row.command(dataset, shot).replace('"', "").split()
        assert command in main.commands
        (name,) = [word for before, word in itertools.pairwise(words) if before == "--config"]
        settings = [word for before, word in itertools.pairwise(words) if before == "--set"]
        config = load_config(EXPERIMENTS.find(name), settings)
        assert config.data.dataset == dataset
        assert (config.student.backbone.name, config.student.head.name) == (row.own_backbone, row.head)
        assert config.evaluation.shots[0] == shot
        assert command == ("student" if row.distilled == "–" else "distill")
