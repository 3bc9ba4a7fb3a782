"""Folders with all frames of a recording: which are taken, and that modalities stay beside one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litemkd.data.frames import encode_frame, read_files, sampled_entries, write_frames
from litemkd.data.packs.pack import build_pack
from litemkd.errors import DataError
from litemkd.recordings.times import sample_times, times_beside
from tests.data.recordings import frame_numbers, numbered_frames


def extracted(clip: Path, n: int, of: int | None = None) -> Path:
    """n frames as `ffmpeg -i clip img_%05d.jpg` writes them; of a recording of `of`, in proportion."""
    clip.mkdir(parents=True)
    numbers = range(n) if of is None else np.rint(np.linspace(0, of - 1, n)).astype(int).tolist()
    for place, frame in enumerate(numbered_frames(of or n)[numbers], 1):
        (clip / f"img_{place:05}.jpg").write_bytes(encode_frame(frame))
    return clip


def taken(clip: Path, rgb: Path | None = None) -> list[int]:
    return frame_numbers(read_files([Path(entry.path) for entry in sampled_entries(clip, 8, rgb)]))


def test_all_frames_are_sampled_as_those_of_a_video_and_eight_are_taken_as_they_are(tmp_path: Path) -> None:
    assert taken(extracted(tmp_path / "a", 20)) == sample_times(20, 8).tolist() == [0, 3, 5, 8, 11, 14, 16, 19]
    assert taken(extracted(tmp_path / "b", 8)) == list(range(8))
    with pytest.raises(DataError, match=r"c has 7 frames; at least 8 are needed"):
        taken(extracted(tmp_path / "c", 7))


@pytest.mark.parametrize("n", [20, 19, 8])
def test_other_modalities_are_taken_at_the_times_of_rgb(tmp_path: Path, n: int) -> None:
    """As many as RGB, one less (flow from each to the next), or the sampled ones alone."""
    rgb = extracted(tmp_path / "rgb_l8/run/v1", 20)
    flow = tmp_path / "flow_l8/run/v1"
    times = sample_times(20, 8)
    if n == 8:
        write_frames(flow, numbered_frames(20)[times])
    else:
        extracted(flow, n)
    assert taken(flow, rgb) == np.minimum(times, 18 if n == 19 else 19).tolist()
    packs = [build_pack(tmp_path, modality, 8, ["run/v1"], None).clip(0) for modality in ("rgb", "flow")]
    assert frame_numbers(packs[0]) == times.tolist()
    assert frame_numbers(packs[1]) == taken(flow, rgb)


def test_another_rate_is_in_proportion_and_another_recording_is_refused(tmp_path: Path) -> None:
    rgb = extracted(tmp_path / "rgb", 39)
    half = taken(extracted(tmp_path / "half", 20, of=39), rgb)
    assert np.abs(np.array(half) - sample_times(39, 8)).max() <= 1
    assert times_beside(20, 20, 8).tolist() == sample_times(20, 8).tolist()
    with pytest.raises(DataError, match=r"few has 9 frames, but .*rgb has 39: not one recording"):
        taken(extracted(tmp_path / "few", 9), rgb)
    assert len(taken(extracted(tmp_path / "alone", 9), tmp_path / "none")) == 8
