"""Preparing a small data set of real files, with the faults that real data has."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from litemkd.data.frames import write_frames
from litemkd.data.packs.pack import build_pack
from litemkd.data.preparing import making
from litemkd.data.splits import read_splits
from litemkd.errors import DataError
from litemkd.modalities.flow import flow_bound
from litemkd.modalities.layouts import LAYOUTS, Layout
from litemkd.modalities.skeleton import joint_times
from litemkd.recordings.times import sample_times
from tests.data.flows import decode_flow
from tests.data.recordings import chosen, clip_of, frame_numbers, numbered_frames, prepared, write_video

GOOD = ("jump/v1", "run/v1", "run/v2")
STICK = ((0, 1), (1, 2))


@pytest.fixture
def source(tmp_path):
    """Three clips in two classes, with joints, as a read-only source beside the data set's folder."""
    folder = tmp_path / "source"
    for name, n in zip(GOOD, (16, 30, 9), strict=True):
        write_video(folder / "videos" / f"{name}.mp4", numbered_frames(n))
        joints = np.ones((n, 3, 3), np.float32)
        joints[:, :, 1] = [3, 2, 1]
        joints[:, 0, 0] = np.linspace(0, 2, n)
        path = folder / "skeleton_joints" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, joints)
    return folder


def prepare(dataset: Path, source: Path, modality: str = "rgb", **changes):
    options = {"T": 8, "short_side": 32, "method": "video", "workers": 1, **changes}
    return prepared(dataset, source, modality, **options)


def test_frames_of_the_right_times_are_written(tmp_path, source):
    report = prepare(tmp_path / "d", source)
    assert (report.modality, report.method, report.made, report.kept) == ("rgb", "video", 3, 0)
    assert report.skipped == report.unlisted == ()
    for name, n in zip(GOOD, (16, 30, 9), strict=True):
        frames = clip_of(tmp_path / "d/rgb_l8" / name, 8)
        assert frames.shape == (8, 32, 43, 3)
        assert frame_numbers(frames) == sample_times(n, 8).tolist()


def test_a_second_call_does_only_what_is_missing(tmp_path, source, monkeypatch):
    prepare(tmp_path, source)
    frames = tmp_path / "rgb_l8"
    shutil.rmtree(frames / "run/v1")
    (frames / "run/v2/3.jpg").unlink()
    (frames / "jump/.v1.999").mkdir()  # as a killed call leaves it
    times = (frames / "jump/v1/1.jpg").stat().st_mtime_ns
    report = prepare(tmp_path, source)
    assert (report.made, report.kept) == (2, 1)
    assert (frames / "jump/v1/1.jpg").stat().st_mtime_ns == times
    assert not (frames / "jump/.v1.999").exists()
    monkeypatch.setattr(making, "_make", lambda job: pytest.fail("made again"))
    assert prepare(tmp_path, source).kept == 3
    shutil.rmtree(source / "videos/run")  # the source may go once the frames are made
    assert prepare(tmp_path, source, videos=GOOD).kept == 3


def test_several_processes_make_the_same(tmp_path, source):
    prepare(tmp_path / "one", source)
    assert prepare(tmp_path / "two", source, workers=2).made == 3
    for name in GOOD:
        pair = [clip_of(tmp_path / where / "rgb_l8" / name, 8) for where in ("one", "two")]
        assert np.array_equal(*pair)


SCRIPT = """
import sys
from pathlib import Path
from tests.data.recordings import prepared
if __name__ == "__main__":
    prepared(Path(sys.argv[1]), Path(sys.argv[1]), "rgb", short_side=64, workers=2)
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes the Linux way")
def test_a_killed_call_leaves_no_process_and_is_taken_up_again(tmp_path):
    first = write_video(tmp_path / "videos/run/v000.mp4", numbered_frames(200, 128, 128))
    for i in range(1, 300):
        os.link(first, first.with_name(f"v{i:03}.mp4"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("rgb_l8/run/v*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    while any(running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(pid) for pid in workers)
    wanted = ["run/v000", "run/v001", "run/v298", "run/v299"]
    report = prepare(tmp_path, tmp_path, short_side=64, videos=wanted)
    assert report.made >= 1
    assert report.kept + report.made == 4
    assert np.array_equal(*(clip_of(tmp_path / "rgb_l8" / name, 8) for name in (wanted[0], wanted[3])))


def spoil(source: Path) -> None:
    write_video(source / "videos/run/short.mp4", numbered_frames(5))
    (source / "videos/jump/notes.mp4").write_text("not a video")


def test_bad_clips_do_not_stop_the_others_and_are_all_named(tmp_path, source):
    spoil(source)
    wanted = [*GOOD, "run/short", "jump/notes", "run/gone"]
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, source, videos=wanted)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 6 clips have no rgb:"
    assert lines[1].startswith(f"  jump/notes: cannot read video {source}/videos/jump/notes.mp4 (11 bytes): ")
    assert lines[2] == f"  run/gone: there is no {source}/videos/run/gone.*"
    assert lines[3] == f"  run/short: {source}/videos/run/short.mp4 has 5 frames; 8 are needed"
    assert "data.on_bad_clip=skip" in lines[4]
    report = prepare(tmp_path, source, videos=wanted, on_bad_clip="skip")
    assert (report.made, report.kept) == (0, 3)
    assert [name for name, _ in report.skipped] == ["jump/notes", "run/gone", "run/short"]
    assert not (tmp_path / "rgb_l8/run/short").exists()


def test_recordings_in_no_list_are_reported_and_left(tmp_path, source):
    report = prepare(tmp_path, source, videos=GOOD[:1])
    assert report.made == 1
    assert report.unlisted == ("run/v1", "run/v2")
    assert not (tmp_path / "rgb_l8/run").exists()


def test_an_empty_source_and_a_missing_one(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"nothing to prepare: .*videos holds no recordings in class folders"):
        prepare(tmp_path / "d", tmp_path)
    with pytest.raises(DataError, match=r"no folder .*depth_videos"):
        prepare(tmp_path / "d", tmp_path, "depth")
    with pytest.raises(DataError, match="flow cannot be prepared by 'joints'"):
        prepare(tmp_path / "d", tmp_path, "flow", method="joints")
    assert not (tmp_path / "d").exists()
    (tmp_path / "videos/run").mkdir()
    write_video(tmp_path / "videos/run/v1.mp4", numbered_frames(8))
    (tmp_path / "d").touch()
    with pytest.raises(DataError, match=r"cannot make the folder .*d/rgb_l8: "):
        prepare(tmp_path / "d", tmp_path)


def test_only_bad_clips_is_an_error_even_when_skipping(tmp_path, source):
    with pytest.raises(DataError, match="1 of 1 clips have no rgb"):
        prepare(tmp_path, source, videos=["run/gone"], on_bad_clip="skip")


def test_frames_of_other_settings_are_not_mixed(tmp_path, source):
    prepare(tmp_path, source)
    with pytest.raises(DataError, match=r"rgb_l8 was made with other settings \(short_side: 32 then, 48 now\)"):
        prepare(tmp_path, source, short_side=48)
    (tmp_path / "rgb_l8/prepare.json").write_text("{")
    with pytest.raises(DataError, match=r"prepare\.json is damaged .* delete .*rgb_l8 to make"):
        prepare(tmp_path, source, short_side=48)


def test_the_users_own_frames_are_kept_and_never_touched(tmp_path, source):
    write_frames(tmp_path / "l8/run/v1", numbered_frames(8))
    write_frames(tmp_path / "l8/run/v2", numbered_frames(7))
    assert chosen(tmp_path, source, "rgb", {}) == "keep"
    report = prepare(
        tmp_path, source, method="keep", videos=["run/v1", "run/v2", "jump/v1"], on_bad_clip="skip"
    )
    assert (report.made, report.kept) == (0, 1)
    assert dict(report.skipped)["run/v2"].endswith("l8/run/v2 has 7 frames; at least 8 are needed")
    assert "jump/v1 (No such file" in dict(report.skipped)["jump/v1"]
    assert prepare(tmp_path, source, method="keep", videos=["run/v1"]).unlisted == ("run/v2",)
    (tmp_path / "l8").rename(tmp_path / "rgb_l8")
    with pytest.raises(DataError, match=r"rgb_l8 holds frames that were not made here \(no prepare\.json\)"):
        prepare(tmp_path, source)
    assert len(list((tmp_path / "rgb_l8").rglob("*.jpg"))) == 15


def test_flow_is_that_of_the_following_frame(tmp_path):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(60, 200, (16, 30)), np.ones((6, 6))).astype(np.uint8)
    moving = np.stack([scene[:64, 60 - 2 * t : 60 - 2 * t + 80] for t in range(20)])
    write_video(tmp_path / "videos/move/right.mp4", np.repeat(moving[..., None], 3, axis=3))
    report = prepare(tmp_path, tmp_path, "flow", method="dis", short_side=64)
    assert report.made == 1
    flow = decode_flow(clip_of(tmp_path / "flow_l8/move/right", 8), flow_bound(64))
    # Two pixels to the right from frame to frame, the last one included; steps of 5 / 127 and JPEG.
    assert np.abs(np.median(flow, (1, 2)) - [2.0, 0.0]).max() < 0.15
    assert build_pack(tmp_path, "flow", 8, ["move/right"], 64).signed


def test_recorded_flow_may_say_how_it_is_encoded(tmp_path, source):
    (source / "videos").rename(source / "flow_videos")
    prepare(tmp_path / "a", source, "flow")
    assert not build_pack(tmp_path / "a", "flow", 8, GOOD, 32).signed
    (source / "flow_videos/encoding.json").write_text('{"encoding": "flow_xy"}')
    prepare(tmp_path / "b", source, "flow")
    assert build_pack(tmp_path / "b", "flow", 8, GOOD, 32).signed


def test_skeletons_are_drawn_at_the_times_of_the_video(tmp_path, source, monkeypatch):
    monkeypatch.setitem(LAYOUTS, "stick", Layout("stick", STICK, (), (0,), (1,)))
    joints = np.load(source / "skeleton_joints/run/v1.npy")
    np.save(source / "skeleton_joints/run/v2.npy", joints[:18])  # twice the video's rate
    report = prepare(tmp_path, source, "skeleton", method="joints", short_side=64)
    assert report.made == 3
    frames = clip_of(tmp_path / "skeleton_l8/run/v1", 8)
    assert frames.shape == (8, 64, 64, 3)
    tops = [np.nonzero((frame[:10] > 60).any((0, 2)))[0].mean() for frame in frames]
    assert tops == sorted(tops)
    assert tops[-1] - tops[0] > 30


def test_joints_that_do_not_fit_are_named(tmp_path, source):
    folder = source / "skeleton_joints/run"
    np.save(folder / "v1.npy", np.ones((936, 20, 4), np.float32))
    (folder / "v2.npy").write_bytes(b"\x93NUMPY broken")
    np.save(source / "skeleton_joints/jump/v1.npy", np.zeros((16, 20, 4), np.float32))
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, source, "skeleton", method="joints")
    text = str(caught.value)
    assert "run/v1: it has 936 frames of joints, but its video has 30: not one recording" in text
    assert f"run/v2: {folder / 'v2.npy'}: not readable as a NumPy array" in text
    assert "jump/v1: no body was found in any of the 8 frames" in text
    np.save(folder / "v2.npy", np.ones((9, 3, 3), np.float32))
    with pytest.raises(DataError, match="run/v2: no bone layout is known for 3 joints; known: kinect20"):
        prepare(tmp_path, source, "skeleton", method="joints")


def test_times_of_joints():
    assert joint_times(30, 30, 8).tolist() == joint_times(30, None, 8).tolist() == sample_times(30, 8).tolist()
    assert joint_times(59, 30, 8).tolist() == (sample_times(30, 8) * 2).tolist()
    assert joint_times(15, 29, 8).tolist() == np.rint(sample_times(29, 8) / 2).astype(int).tolist()
    with pytest.raises(DataError, match="it has 7 frames of joints; 8 are needed"):
        joint_times(7, 30, 8)


def test_the_way_is_chosen_by_what_is_there(tmp_path, source):
    dataset = tmp_path / "d"
    derive = {"flow": "dis", "skeleton": "joints"}
    assert chosen(dataset, source, "rgb", {}) == "video"
    assert chosen(dataset, source, "flow", derive) == "dis"
    assert chosen(dataset, source, "skeleton", derive) == "joints"
    (source / "flow_videos").mkdir()
    assert chosen(dataset, source, "flow", derive) == "video"
    prepare(dataset, source)
    assert chosen(dataset, source, "rgb", {}) == "video"  # goes on with what it made
    assert chosen(dataset, tmp_path, "rgb", {}) == "keep"  # the source is gone
    with pytest.raises(
        DataError, match="depth cannot be derived by 'dis'; what would do: depth_anything or adabins"
    ):
        chosen(dataset, source, "depth", {"depth": "dis"})
    with pytest.raises(DataError) as caught:
        chosen(dataset, source, "skeleton", {})
    assert str(caught.value) == (
        f"there is no skeleton for {dataset}; any of these would do:\n"
        f"  frames in {dataset}/skeleton_l8/<class>/<video>/*.jpg, 8 or more a clip\n"
        f"  recordings in {source}/skeleton_videos/<class>/<video>.mp4\n"
        f"  {source}/skeleton_joints, with data.derive.skeleton=joints\n"
        f"  {source}/videos, with data.derive.skeleton=keypoint_rcnn and data.weights.keypoint_rcnn\n"
        f"  {source}/alphapose and {source}/videos, with data.derive.skeleton=alphapose"
    )


@pytest.mark.data
@pytest.mark.skipif("LITEMKD_TEST_DATA" not in os.environ, reason="LITEMKD_TEST_DATA is not set")
def test_real_recordings_and_joints(tmp_path):
    source = Path(os.environ["LITEMKD_TEST_DATA"]) / "msr_action3d"
    splits = read_splits(source / "splits/msr_fewshot")
    videos = [video for split in splits.values() for video in split.videos][::60]
    for modality, method in (("rgb", "video"), ("flow", "dis"), ("skeleton", "joints")):
        report = prepare(tmp_path, source, modality, method=method, short_side=48, videos=videos)
        assert report.made == len(videos)
        pack = build_pack(tmp_path, modality, 8, videos, 48)
        assert all(pack.clip(row).std() > 1 for row in range(len(pack)))
    missing = ["a13_bend/a13_s09_e03"]  # joints far too long, and no clip
    with pytest.raises(DataError, match=r"a13_s09_e03: there is no .*videos/a13_bend/a13_s09_e03\.\*"):
        prepare(tmp_path, source, short_side=48, videos=[*videos, *missing])
