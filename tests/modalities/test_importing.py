"""Frames from files that other programs wrote, chosen at the times of the video."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litemkd.errors import DataError
from litemkd.modalities.flow import flow_bound
from litemkd.recordings.times import sample_times
from litemkd.recordings.videos import video_size
from tests.data.flows import decode_flow
from tests.data.recordings import chosen, clip_of, numbered_frames, prepared, write_video

N = 30
TIMES = sample_times(N, 8).tolist()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_video(tmp_path / "videos/run/v1.mp4", numbered_frames(N))
    return tmp_path


def prepare(source: Path, method: str, modality: str, **changes):
    options = {"T": 8, "short_side": 24, "workers": 1, **changes}
    return prepared(source / "made", source, modality, method=method, **options)


def write_flo(folder: Path, count: int) -> None:
    """File i says: everything moves by (i / 10, -1) pixels of a picture of 64 x 48."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = struct.pack("<ff", i / 10, -1.0) * (64 * 48)
        (folder / f"{i}.flo").write_bytes(b"PIEH" + struct.pack("<ii", 64, 48) + pixels)


@pytest.mark.parametrize("count", [N, N - 1])
def test_flow_files_are_taken_at_the_sampled_times(source, count):
    write_flo(source / "flow_flo/run/v1", count)
    assert chosen(source / "made", source, "flow", {"flow": "flownet2"}) == "flownet2"
    assert prepare(source, "flownet2", "flow").made == 1
    flow = decode_flow(clip_of(source / "made/flow_l8/run/v1", 8), flow_bound(24))
    # At half the size, half the movement; steps of the picture and JPEG.
    expected = [min(t, count - 1) / 20 for t in TIMES]
    np.testing.assert_allclose(flow[..., 0].mean((1, 2)), expected, atol=0.03)
    np.testing.assert_allclose(flow[..., 1].mean((1, 2)), -0.5, atol=0.03)
    note = json.loads((source / "made/flow_l8/prepare.json").read_text())
    assert (note["method"], note["encoding"]) == ("flownet2", "flow_xy")
    assert "weights" not in note


def test_flow_files_that_do_not_fit_are_told(source):
    folder = source / "flow_flo/run/v1"
    write_flo(folder, N - 2)
    with pytest.raises(
        DataError, match=r"run/v1: .*v1 has 28 \.flo files, but its video has 30 frames: one for"
    ):
        prepare(source, "flownet2", "flow")
    write_flo(folder, N)
    (folder / f"{TIMES[3]}.flo").write_bytes(b"PIEH" + struct.pack("<ii", 1, 1) + b"\0" * 8)
    with pytest.raises(DataError, match=r"12\.flo is 1x1, but 0\.flo beside it is 64x48; the files of a clip"):
        prepare(source, "flownet2", "flow")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"run/v1: .*v1 has no \.flo files"):
        prepare(source, "flownet2", "flow")


def test_without_videos_the_files_are_the_recording(source):
    (source / "videos").rename(source / "elsewhere")
    write_flo(source / "flow_flo/run/v1", 9)
    write_flo(source / "flow_flo/run/short", 7)
    report = prepare(source, "flownet2", "flow", on_bad_clip="skip")
    assert report.made == 1
    assert report.skipped[0][1].endswith("run/short has flow of 7 frames; 8 are needed")


@pytest.mark.parametrize("count", [N, 8])
def test_depth_maps_are_taken_at_the_sampled_times(source, count):
    folder = source / "depth_maps/run/v1"
    folder.mkdir(parents=True)
    for i in range(count):
        near = 1000 + 100 * (i if count == N else TIMES[i])  # moves away: darker from frame to frame
        distances = np.full((48, 64), 60_000, np.uint16)
        distances[:24] = near
        distances[:, :8] = 0
        Image.fromarray(distances).save(folder / f"frame_{i + 1}.png")
    assert prepare(source, "adabins", "depth").made == 1
    frames = clip_of(source / "made/depth_l8/run/v1", 8)
    assert frames.shape == (8, 24, 32, 3)
    nearest, farthest = 1 / 1000, 1 / 60_000
    expected = [1 + 254 * (1 / (1000 + 100 * t) - farthest) / (nearest - farthest) for t in TIMES]
    np.testing.assert_allclose(frames[:, 2:9, 8:].mean((1, 2, 3)), expected, atol=3)
    assert frames[:, :, :2].max() < 12  # no reading
    assert json.loads((source / "made/depth_l8/prepare.json").read_text())["encoding"] == "near_bright"


def test_another_number_of_depth_maps_is_told(source):
    folder = source / "depth_maps/run/v1"
    folder.mkdir(parents=True)
    for i in range(12):
        np.save(folder / f"{i}.npy", np.ones((6, 8)))
    told = r"v1 has 12 depth maps; one for each of the video's 30 frames, or for the 8 sampled ones, would do"
    with pytest.raises(DataError, match=told):
        prepare(source, "adabins", "depth")


def people(numbers) -> list[dict]:
    """One person a frame, an upright line at x = 2 i, in pixels of 64 x 48."""
    entries = []
    for i in numbers:
        keypoints = np.zeros((17, 3))
        keypoints[5], keypoints[7], keypoints[9] = (2 * i, 4, 1), (2 * i, 24, 1), (2 * i, 44, 1)
        entries.append(
            {"image_id": f"{i}.jpg", "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 1.0}
        )
    return entries


@pytest.mark.parametrize("name", ["v1.json", "v1/alphapose-results.json"])
def test_people_are_drawn_in_their_frames(source, name):
    path = source / "alphapose/run" / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(people([t for t in range(1, N) if t != TIMES[2]])))
    assert prepare(source, "alphapose", "skeleton").made == 1
    frames = clip_of(source / "made/skeleton_l8/run/v1", 8)
    assert frames.shape == (8, 24, 32, 3)
    for t, frame in zip(TIMES, frames, strict=True):
        if t in (0, TIMES[2]):
            assert frame.max() < 8  # nobody
        else:
            columns = (frame.max(-1) > 90).sum(0)
            assert abs(int(columns.argmax()) - t) <= 1
            assert columns.max() > 15


def test_people_need_the_video(source):
    (source / "alphapose/run").mkdir(parents=True)
    (source / "alphapose/run/v1.json").write_text("[]")
    (source / "alphapose/run/v2.json").write_text("[]")
    with pytest.raises(DataError, match=r"run/v2: .*v2\.json has no video; positions in it have no meaning"):
        prepare(source, "alphapose", "skeleton")
    (source / "videos").rename(source / "elsewhere")
    with pytest.raises(DataError) as caught:
        chosen(source / "new", source, "skeleton", {"skeleton": "alphapose"})
    assert f"{source}/alphapose and {source}/videos, with data.derive.skeleton=alphapose" in str(caught.value)


def test_two_results_of_one_clip_are_refused(source):
    (source / "alphapose/run/v1").mkdir(parents=True)
    (source / "alphapose/run/v1.json").write_text("[]")
    with pytest.raises(DataError, match=r"run/v1 and .*run/v1\.json are both run/v1; keep one or rename one"):
        prepare(source, "alphapose", "skeleton")


def test_the_size_of_a_video(source):
    assert video_size(source / "videos/run/v1.mp4") == (N, 48, 64)
