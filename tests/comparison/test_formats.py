"""Every format is read back; what comes from the store is escaped in each."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from litemkd.comparison.comparison import Comparison, compare
from litemkd.comparison.entries import read_entries
from litemkd.comparison.formats import as_html, as_latex, as_markdown, as_text
from litemkd.comparison.gains import Gains
from litemkd.comparison.grouping import DEFAULT_KEYS, group
from litemkd.comparison.published import PUBLISHED
from litemkd.comparison.records import as_csv, as_json
from litemkd.comparison.sheets import Sheet, sheets_of
from litemkd.errors import TrackingError
from litemkd.tracking import RunRecord
from tests.comparison.runs import record

HOSTILE = '<script>alert("1")</script> & 50 % of {a_b} | \\x $ # ~ ^ \x1b[31m\n*'


def compared(records: list[RunRecord], jobs: list[RunRecord], by: tuple[str, ...] = DEFAULT_KEYS) -> Comparison:
    entries, left = read_entries(records)
    return compare(group(entries, by), Gains(entries, jobs, lambda run_id, shot: None), left)


def family() -> tuple[list[RunRecord], list[RunRecord]]:
    """Two data sets, two backbones, three seeds, with and without a teacher."""
    students, jobs = [], []
    for dataset, level in (("ucf101", 90.0), ("kinetics100", 80.0)):
        for backbone, gmacs in (("resnet18", 450.0), ("mobilenet_v3_small", 14.5)):
            for seed in range(3):
                points = {"gain/accuracy_5shot": 2.0 + seed, "gain/accuracy_ci95_5shot": 0.3}
                job = record(seed, stage="distill", dataset=dataset, metrics=points)
                jobs.append(job)
                for distilled in (False, True):
                    mean = level + seed + (2.0 + seed) * distilled - (backbone != "resnet18") * 5
                    told = {"dataset": dataset, "backbone": backbone, "gmacs": gmacs, "distilled": distilled}
                    students.append(record(seed, accuracy={5: (mean, 0.3)}, parent=job.run_id, **told))
    return students, jobs


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    students, jobs = family()
    return compared([*students, record(status="FAILED", name=HOSTILE)], jobs)


@pytest.fixture(scope="module")
def hostile() -> list[Sheet]:
    return sheets_of(
        compared([record(head=HOSTILE), record(status="FAILED", name=HOSTILE)], []), published=True
    )


class Tables(HTMLParser):
    """The cells of every table of a page, by row; captions; and all tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._open = self.tables[-1][-1]
        elif tag == "caption":
            self.captions.append("")
            self._open = self.captions

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption"):
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open[-1] += data


def test_the_table_says_what_it_has_to(comparison: Comparison) -> None:
    main = sheets_of(comparison)[0]
    rows = [dict(zip(main.header, row, strict=True)) for row in main.rows]
    assert [row["backbone"] for row in rows] == ["mobilenet_v3_small"] * 2 + ["resnet18"] * 2
    # Student's t for three values 1 apart: 4.303 / sqrt(3) = 2.484
    assert rows[2]["ucf101 5-shot, %"] == "91.00 ± 2.48 (3)"
    assert rows[3]["ucf101 5-shot, %"] == "94.00 ± 4.97 (3)"
    gains = [row["gain, ucf101 5-shot"] for row in rows]
    # One alone would be marked, with p = 0.035; of four Holm's correction leaves none.
    assert gains == ["–", "+3.00 ± 2.48 (3)"] * 2
    assert rows[3]["gain, ucf101 5-shot, episodes only"] == "± 0.30"
    assert rows[0]["GMACs/episode, as thop counts"] == "14.50"
    assert rows[0]["GFLOPs/episode, exact"] == "29.00"
    assert rows[0]["latency, ms/video"] == "21.00"
    notes = " ".join(main.notes)
    for word in (
        "Student's t",
        "one seed",
        "paired",
        "thop",
        "kinetics100: ways 5",
        "data digest d1",
        "cpu, 1 thread",
    ):
        assert word in notes


def test_energy_is_shown_where_it_is_known() -> None:
    (main, *_) = sheets_of(compared([record(metrics={"cost/energy_j_per_video": 1.5}), record(1)], []))
    assert dict(zip(main.header, main.rows[0], strict=True))["energy j per video"] == "1.500"
    (main, *_) = sheets_of(compared([record()], []))
    assert not any("energy" in name for name in main.header)


def test_html_holds_the_tables_and_nothing_from_the_store_as_markup(
    comparison: Comparison, hostile: list[Sheet]
) -> None:
    sheets = sheets_of(comparison, published=True)
    page = Tables(as_html(sheets, {"accuracy_against_cost.svg": "Accuracy"}))
    assert page.tables == [[list(map(str, sheet.header)), *map(list, sheet.rows)] for sheet in sheets]
    assert page.captions == [sheet.title for sheet in sheets]
    assert page.tags.count("img") == 1
    bad = Tables(as_html(hostile))
    assert "script" not in bad.tags
    assert bad.tables[0][1][1] == HOSTILE
    assert any("quoted" in caption for caption in bad.captions)


def test_markdown_keeps_its_columns(comparison: Comparison, hostile: list[Sheet]) -> None:
    for sheets in (sheets_of(comparison, published=True), hostile):
        lines = [line for line in as_markdown(sheets).splitlines() if line.startswith("|")]
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        expected = [len(sheet.header) for sheet in sheets for _ in range(len(sheet.rows) + 2)]
        assert [len(row) for row in cells] == expected
    text = as_markdown(hostile)
    assert "<script" not in text
    assert "\x1b" not in text + as_text(hostile) + as_latex(hostile)
    first = as_markdown(sheets_of(comparison)).splitlines()
    assert "| 91.00 ± 2.48 (3) |" in next(line for line in first if line.startswith("| resnet18 | trx | no |"))


def test_latex_is_booktabs_with_equal_columns(comparison: Comparison, hostile: list[Sheet]) -> None:
    for sheets in (sheets_of(comparison, published=True), hostile):
        text = as_latex(sheets)
        for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\end{table}"):
            assert text.count(rule) == len(sheets)
        for sheet, body in zip(
            sheets, re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.S), strict=True
        ):
            assert re.match(r"\\begin\{tabular\}\{([lr]+)\}", body)[1].count("l") == sheet.left  # type: ignore[index]
            lines = [line for line in body.splitlines() if line.endswith(r"\\")]
            assert len(lines) == len(sheet.rows) + 1
            assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(sheet.header) - 1}
        bare = re.sub(r"\\[&%$#_{}]|\$\\pm\$|\$\^\{\*\}\$|\\[a-z]+(\{\})?", "", text.split("\\toprule", 1)[1])
        inside = "\n".join(
            line for line in bare.splitlines() if "tabular" not in line and "caption" not in line
        )
        assert not set("%$#_~^") & set(inside)


def test_csv_has_numbers(comparison: Comparison) -> None:
    records = list(csv.DictReader(io.StringIO(as_csv(comparison, published=True))))
    mine = [row for row in records if not row["quoted_from"]]
    assert len(mine) == 8
    (one,) = [r for r in mine if (r["backbone"], r["distilled"], r["dataset"]) == ("resnet18", "yes", "ucf101")]
    assert float(one["accuracy_percent"]) == pytest.approx(94.0)
    assert (one["seeds"], one["interval_over"], one["gain_leaves_zero"]) == ("3", "seeds", "True")
    assert float(one["gmacs_per_episode"]) == 450.0
    quoted = {(r["settings"], r["backbone"], r["dataset"], r["shot"]): r for r in records if r["quoted_from"]}
    assert float(quoted["Lite-MKD", "mobilenet_v3_small", "hmdb51", "5"]["accuracy_percent"]) == 71.72


def test_json_has_every_run_and_why_others_are_missing(comparison: Comparison) -> None:
    values: dict[str, Any] = json.loads(as_json(comparison, published=True))
    assert values["left_out"][0] == {**values["left_out"][0], "name": HOSTILE, "reason": "not finished: FAILED"}
    (row,) = [
        r for r in values["rows"] if r["keys"] == {"backbone": "resnet18", "head": "trx", "distilled": "yes"}
    ]
    cells = {cell["dataset"]: cell for cell in row["cells"]}
    assert [run["accuracy"] for run in cells["ucf101"]["runs"]] == [92.0, 94.0, 96.0]
    assert cells["ucf101"]["gain"]["leaves_zero"] is True
    assert values["costs"]["gflops_per_episode"] == "GFLOPs/episode, exact"
    assert row["cost"]["latency_ms_per_video"] == {"median": 21.0, "min": 20.0, "max": 22.0, "runs": 6}
    assert len(values["published"]["rows"]) == len(PUBLISHED)
    unknown = json.loads(as_json(compared([record(accuracy={5: (80.0, float("nan"))})], [])))
    assert unknown["rows"][0]["cells"][0]["accuracy"]["half_width"] is None


def test_the_published_shape_is_made_from_runs(comparison: Comparison) -> None:
    mine, quoted, left = sheets_of(comparison, shape="published", published=True)
    assert mine.title == "Accuracy, 5-way 5-shot, per cent, head trx (kinetics100 / ucf101)"
    assert mine.header == ("Student", "labels only", "distilled")
    assert mine.rows == (
        ("mobilenet_v3_small", "76.00 ± 2.48 (3) / 86.00 ± 2.48 (3)", "79.00 ± 4.97 (3) / 89.00 ± 4.97 (3)"),
        ("resnet18", "81.00 ± 2.48 (3) / 91.00 ± 2.48 (3)", "84.00 ± 4.97 (3) / 94.00 ± 4.97 (3)"),
    )
    assert quoted.quoted
    assert quoted.header == ("Student", "labels only", "Lite-MKD")
    assert quoted.rows == (
        ("resnet18", "80.50 / 92.28 / 70.60", "84.04 / 94.78 / 74.65"),
        ("mobilenet_v3_small", "74.32 / 88.18 / 64.47", "80.27 / 93.31 / 71.72"),
        ("mobilenet_v3_large", "78.55 / 90.34 / 65.85", "83.25 / 94.76 / 73.95"),
    )
    assert left.title == "Left out: 1 run"
    with pytest.raises(TrackingError, match="distilled"):
        sheets_of(compared(*family(), by=("backbone",)), shape="published")


def test_the_published_shape_keeps_unlike_students_apart() -> None:
    runs = [record(distilled=False, accuracy={5: (70.0, 0.3), 1: (50.0, 0.4)})]
    runs += [record(params={"loss.kd": kd}, accuracy={5: (70.0 + kd, 0.3)}) for kd in (1, 2)]
    five, one, *_ = sheets_of(compared(runs, []), shape="published")
    assert five.rows == (
        ("resnet18, loss.kd=1", "70.00 ± 0.30 (1)", "71.00 ± 0.30 (1)"),
        ("resnet18, loss.kd=2", "70.00 ± 0.30 (1)", "72.00 ± 0.30 (1)"),
    )
    assert one.rows[0] == ("resnet18, loss.kd=1", "50.00 ± 0.40 (1)", "–")


def test_published_rows_are_as_printed_and_set_apart(comparison: Comparison) -> None:
    (quoted,) = [sheet for sheet in sheets_of(comparison, published=True) if sheet.quoted]
    assert "quoted" in quoted.title
    assert "not measured here" in quoted.notes[0]
    rows = {row[:2]: dict(zip(quoted.header, row, strict=True)) for row in quoted.rows}
    assert rows["TRX", "resnet50"]["ucf101 5-shot, %"] == "96.1"
    assert rows["TRX", "resnet50"]["GMACs/episode, as thop counts"] == "1023.3"
    assert rows["OTAM", "resnet50"]["hmdb51 5-shot, %"] == "–"
    assert rows["CLIP-FSAR", "CLIP ViT-B/16"]["ssv2_full 1-shot, %"] == "61.9"
    assert rows["HyRSM", "resnet50"]["hmdb51 5-shot, %"] == "76.0"
    assert rows["MoLo", "resnet50"]["kinetics100 1-shot, %"] == "74.0"
    assert rows["Lite-MKD", "mobilenet_v3_large"]["GMACs/episode, as thop counts"] == "72.6"
    assert not any(sheet.quoted for sheet in sheets_of(comparison))
