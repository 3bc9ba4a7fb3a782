"""From answers to decisions and segments, and the files that are made of these."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as Tree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litemkd_runtime.live import NONE, Answer, Decider, Decision, Segment, Segments, Window, clock, stride_of
from litemkd_runtime.reading import sample_times
from litemkd_runtime.segment_files import as_elan, as_webvtt, write_segments


@given(st.floats(0.1, 10), st.floats(1, 120), st.integers(2, 32))
def test_a_window_is_what_would_be_sampled_of_a_clip_as_long(seconds: float, rate: float, frames: int) -> None:
    stride = stride_of(seconds, rate, frames)
    taken = np.arange(frames) * stride
    assert np.array_equal(sample_times(1 + stride * (frames - 1), frames), taken)


def test_a_window_slides_and_begins_anew() -> None:
    window = Window(3)
    found = [window.push(np.array([n])) for n in range(5)]
    assert [None if one is None else one.ravel().tolist() for one in found] == [
        None,
        None,
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
    ]
    window.clear()
    assert window.push(np.array([5])) is None


def answers(*shares: float, known: bool = True) -> list[Answer]:
    return [Answer(n - 1.0, float(n), np.array([x, 1 - x]), known) for n, x in enumerate(shares)]


def test_another_name_has_to_hold() -> None:
    decider = Decider(("wave", "clap"), smoothing=0.0, hold=2)
    found = [decider.decide(one).name for one in answers(0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1)]
    assert found == [NONE, "wave", "wave", "wave", "wave", "clap", "clap"]


def test_smoothing_is_an_exponential_mean() -> None:
    decider = Decider(("wave", "clap"), smoothing=0.75, hold=1)
    found = [decider.decide(one) for one in answers(1.0, 0.0, 0.0, 0.0)]
    assert [round(one.probability, 6) for one in found] == [1.0, 0.75, 0.5625, 1 - 0.75**3]
    assert [one.name for one in found] == ["wave", "wave", "wave", "clap"]
    assert [one.changed for one in found] == [True, False, False, True]


def test_what_is_none_of_these_is_shown_as_such() -> None:
    decider = Decider(("wave", "clap"), smoothing=0.5, hold=2)
    for one in answers(1.0, 1.0):
        decider.decide(one)
    found = [decider.decide(one).name for one in answers(1.0, 1.0, 1.0, known=False)]
    assert found == ["wave", NONE, NONE] or found[-1] == NONE


def test_segments_end_where_the_name_changes() -> None:
    found: list[Segment] = []
    segments = Segments(found.append, lead=0.5)
    for time, name in enumerate([NONE, "a", "a", "b", NONE, "b", "b"]):
        segments.add(Decision(float(time), name, 0.1 * time, True))
    segments.close()
    assert [(one.start, one.end, one.name) for one in found] == [
        (0.5, 2.5, "a"),
        (2.5, 3.5, "b"),
        (4.5, 5.5, "b"),
    ]
    assert found[0].probability == pytest.approx(0.15)


def test_all_forms_hold_the_segments(tmp_path: Path) -> None:
    told = [Segment(0.5, 61.25, "wave <&>", 0.9), Segment(3700.0, 3701.5, "clap", 0.5)]
    files = write_segments(tmp_path / "out", told, "film.mp4", 3800.0)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted(one.name for one in files)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "segments.csv").read_text(encoding="utf-8"))))
    assert [(float(row["start"]), float(row["end"]), row["name"]) for row in rows] == [
        (one.start, one.end, one.name) for one in told
    ]
    assert json.loads((tmp_path / "out" / "segments.json").read_text(encoding="utf-8"))[1]["name"] == "clap"
    picture = cv2.imread(str(tmp_path / "out" / "timeline.png"))
    assert picture is not None
    assert (picture == (180, 119, 31)).all(-1).any()
    assert as_webvtt(told).splitlines()[:3] == ["WEBVTT", "", "00:00:00.500 --> 00:01:01.250"]
    assert "wave &lt;&amp;&gt;" in as_webvtt(told)
    root = Tree.fromstring(as_elan(told, "film.mp4"))
    slots = {one.get("TIME_SLOT_ID"): int(str(one.get("TIME_VALUE"))) for one in root.iter("TIME_SLOT")}
    marks = [
        (slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")], one.findtext("ANNOTATION_VALUE"))
        for one in root.iter("ALIGNABLE_ANNOTATION")
    ]
    assert marks == [(500, 61250, "wave <&>"), (3_700_000, 3_701_500, "clap")]
    assert clock(3701.5) == "01:01:41.500"
