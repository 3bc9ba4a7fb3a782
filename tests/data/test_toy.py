from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from litemkd.data.packs.crops import crop_clips
from litemkd.data.packs.pack import build_pack
from litemkd.data.toy import ToySettings, make_clip, make_toy, toy_classes
from litemkd.data.toy.actions import ACTIONS, REST, SAME_START
from litemkd.data.toy.motion import BONES, JOINTS, Shot, perform, pose_curves
from litemkd.data.toy.render import depth_pictures, surfaces, true_flow
from litemkd.errors import DataError
from litemkd.modalities.flow import flow_bound
from litemkd.runtime.seeding import numpy_generator
from tests.data.flows import decode_flow
from tests.data.recordings import prepared

TINY = {"clips_per_class": 1, "frames": 4, "size": 32}
BY_NAME = {action.name: action for action in ACTIONS}
SPLITS = ("train", "val", "test")


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def shot_of(name: str, number: int = 0, frames: int = 12, size: int = 72) -> Shot:
    return perform(BY_NAME[name], numpy_generator(5, name, number), frames, size)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    assert make_toy(folder, ToySettings(**TINY), workers=1, progress=False) == len(ACTIONS)
    return folder


def test_mirrored_flow_moves_the_other_way(made: Path, tmp_path: Path):
    """The videos' note reaches the pack, whatever was there before the note."""
    videos = [f"{name}/{name}_000" for name in toy_classes("val")]
    options = {"T": 4, "short_side": 32, "method": "video", "videos": videos, "workers": 1}
    note = made / "flow_videos" / "encoding.json"
    text = note.read_text()
    note.unlink()
    try:
        assert prepared(tmp_path, made, "flow", **options).made == len(videos)
        plain = build_pack(tmp_path, "flow", 4, videos, 32, workers=1)
    finally:
        note.write_text(text)
    assert not plain.signed
    assert prepared(tmp_path, made, "flow", **options).kept == len(videos)
    signed = build_pack(tmp_path, "flow", 4, videos, 32, workers=1)
    assert signed.signed
    assert signed.digest != plain.digest  # other training data, with mirroring
    rows = range(len(videos))
    seen = {}
    for seed in range(9):
        crops = crop_clips(signed, rows, 32, np.random.default_rng(seed))
        for row in rows:
            clip = signed.clip(row)
            assert (crops[row] == clip).all() or (crops[row, ..., 1:] == clip[:, :, ::-1, 1:]).all()
            if not (crops[row] == clip).all():
                dx = crops[row, ..., 0].astype(int) - 128
                np.testing.assert_allclose(dx, 128 - clip[:, :, ::-1, 0].astype(int), atol=1)
                seen[row] = np.abs(dx).max()
    assert len(seen) == len(videos)
    assert max(seen.values()) > 20  # something did move
    rgb = options | {"videos": videos[:1]}
    prepared(tmp_path, made, "rgb", **rgb)
    assert not build_pack(tmp_path, "rgb", 4, videos[:1], 32, workers=1).signed


def test_workers_end_with_a_killed_parent(tmp_path: Path):
    code = (
        "from pathlib import Path; from litemkd.data.toy import ToySettings, make_toy\n"
        "if __name__ == '__main__':\n"
        f"    make_toy(Path({str(tmp_path / 'toy')!r}), ToySettings(50, 16, 64), workers=2)\n"
    )
    script = tmp_path / "make.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list((tmp_path / "toy").glob("videos/*/*.mp4"))) > 2)
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def until(done, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_splits_are_disjoint_and_large_enough(made: Path):
    lists = {}
    for split in SPLITS:
        lines = (made / "splits" / "toy" / f"{split}list03.txt").read_text().split()
        lists[split] = {line.split("/")[0] for line in lines}
        assert lists[split] == set(toy_classes(split))
        assert all((made / "videos" / f"{line}.mp4").is_file() for line in lines)
    assert len(lists["train"]) >= 10
    assert sum(len(classes) for classes in lists.values()) >= 24
    assert len(lists["val"]) >= 8
    assert len(lists["test"]) >= 8
    for a, b in combinations(SPLITS, 2):
        assert not lists[a] & lists[b]


def test_no_two_classes_are_the_same_movement_or_its_mirror_image():
    def course(action, mirrored: bool) -> np.ndarray:
        curves = pose_curves(action, np.random.default_rng(0), 9, restlessness=0.0)
        swap = {"right": "left", "left": "right"}
        parts = []
        for channel in REST:
            side, _, limb = channel.partition("_")
            other = f"{swap[side]}_{limb}" if mirrored and limb else channel
            sign = -1 if mirrored and channel in ("lean", "twist", "turn", "shift") else 1
            parts.append(sign * curves[other])
        return np.concatenate(parts, axis=1)

    courses = {
        (action.name, mirrored): course(action, mirrored) for action in ACTIONS for mirrored in (False, True)
    }
    for a, b in combinations(ACTIONS, 2):
        for mirrored in (False, True):
            apart = np.abs(courses[a.name, False] - courses[b.name, mirrored]).max()
            assert apart > 0.2, (a.name, b.name, mirrored)


def test_repeating_actions_end_where_they_began():
    for action in ACTIONS:
        for channel, track in action.tracks.items():
            moments = [moment for moment, _ in track]
            assert moments[0] == 0
            assert moments[-1] == 1
            assert moments == sorted(set(moments))
            if action.repeats:
                np.testing.assert_allclose(track[0][1], track[-1][1], atol=1e-9, err_msg=channel)


@pytest.mark.parametrize(("first", "second"), SAME_START)
def test_named_pairs_share_their_first_frame(first: str, second: str):
    a, b = (
        {
            channel: action.tracks[channel][0][1] if channel in action.tracks else rest
            for channel, rest in REST.items()
        }
        for action in (BY_NAME[first], BY_NAME[second])
    )
    assert all(a[channel] == pytest.approx(b[channel]) for channel in REST)
    # The same puppet performing either begins in the same picture, and goes on differently.
    pictures = [
        depth_pictures(surfaces(perform(BY_NAME[name], np.random.default_rng(3), 8, 48), 48))
        for name in (first, second)
    ]
    assert (pictures[0][0] == pictures[1][0]).all()
    assert (pictures[0][1:] != pictures[1][1:]).any()


def test_every_modality_is_written_for_every_clip(made: Path):
    for action in ACTIONS:
        stem = f"{action.name}/{action.name}_000"
        for name in ("videos", "flow_videos", "depth_videos", "skeleton_videos"):
            assert (made / name / f"{stem}.mp4").is_file()
        joints = np.load(made / "skeleton_joints" / f"{stem}.npy")
        assert joints.shape == (4, len(JOINTS), 4)
        assert joints.dtype == np.float32
        assert np.isfinite(joints).all()
    assert not list(made.rglob("*part*"))


def test_videos_hold_the_pictures(made: Path):
    clip = make_clip(BY_NAME["squat"], 0, ToySettings(**TINY))
    for kind, pictures in clip.pictures.items():
        folder = "videos" if kind == "rgb" else f"{kind}_videos"
        decoded = decode(made / folder / "squat" / "squat_000.mp4")
        assert decoded.shape == pictures.shape == (4, 32, 32, 3)
        if kind != "rgb":  # their colours are measurements: kept exactly
            np.testing.assert_array_equal(decoded, pictures)
    depth = clip.pictures["depth"]
    assert (depth[..., 0] == depth[..., 1]).all()
    assert (depth[..., 0] == depth[..., 2]).all()


def test_two_runs_give_the_same_bytes_whatever_the_workers(made: Path, tmp_path: Path):
    again = tmp_path / "again"
    make_toy(again, ToySettings(**TINY), workers=2, progress=False)
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((made / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_another_seed_or_clip_number_gives_another_clip():
    def joints(number: int, seed: int) -> np.ndarray:
        return make_clip(BY_NAME["bow"], number, ToySettings(**{**TINY, "seed": seed})).joints

    np.testing.assert_array_equal(joints(0, 0), joints(0, 0))
    assert (joints(0, 0) != joints(1, 0)).any()
    assert (joints(0, 0) != joints(0, 1)).any()


def test_clutter_changes_rgb_only():
    plain, full = (make_clip(BY_NAME["bow"], 0, ToySettings(**TINY, clutter=c)) for c in (0.0, 1.0))
    assert (plain.pictures["rgb"] != full.pictures["rgb"]).any()
    for kind in ("flow", "depth", "skeleton"):
        np.testing.assert_array_equal(plain.pictures[kind], full.pictures[kind])


def test_a_second_call_makes_only_what_is_missing(tmp_path: Path):
    make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False)
    lost = tmp_path / "flow_videos" / "squat" / "squat_000.mp4"
    before = lost.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.suffix in (".mp4", ".npy")}
    assert make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False) == 0
    lost.unlink()
    assert make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False) == 1
    assert lost.read_bytes() == before
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [lost]


def test_other_settings_are_refused(made: Path):
    with pytest.raises(DataError, match=r"toy.*seed 0 \(asked for: 1\).*remove the folder or choose another"):
        make_toy(made, ToySettings(**TINY, seed=1), workers=1, progress=False)


def test_settings_file_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "toy.json").write_text("{")
    with pytest.raises(DataError, match=r"toy\.json is not readable JSON"):
        make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False)
    (tmp_path / "toy.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="does not hold toy settings"):
        make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False)


def test_somebody_elses_videos_are_left_alone(tmp_path: Path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"videos but no toy\.json"):
        make_toy(tmp_path, ToySettings(**TINY), workers=1, progress=False)


def test_settings_out_of_range_are_all_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"frames is 2; .* 4 or more; size is 33; .*even.*; clutter is 1\.5"):
        make_toy(tmp_path / "toy", ToySettings(frames=2, size=33, clutter=1.5))
    assert not (tmp_path / "toy").exists()


@pytest.mark.parametrize("name", ["kick_sideways", "jumping_jack", "bow", "draw_circle_out", "turn_away"])
def test_flow_leads_to_the_same_bone_in_the_next_frame(name: str):
    shot = shot_of(name)
    surface = surfaces(shot, 72)
    flow = true_flow(shot, surface)
    solid = np.isfinite(surface.depth)
    assert (flow[~solid] == 0).all()
    same = total = standing = 0
    for t in range(len(flow) - 1):
        y, x = np.nonzero(solid[t])
        there = np.rint(np.stack([x, y], 1) + flow[t, y, x]).astype(int).clip(0, 71)
        bone = surface.bone[t, y, x]
        same += (surface.bone[t + 1, there[:, 1], there[:, 0]] == bone).sum()
        standing += (surface.bone[t + 1, y, x] == bone).sum()
        total += len(x)
    assert same / total > 0.88  # the rest comes to lie behind another bone, or on its outline
    assert same > standing  # a flow of zero would do worse


def test_flow_at_a_joint_is_the_joints_own_displacement():
    shot = shot_of("jumping_jack", size=128)
    surface = surfaces(shot, 128)
    flow = true_flow(shot, surface)
    wrist, forearm = JOINTS.index("right_wrist"), BONES.index((4, 5))
    seen = 0
    for t in range(len(flow)):
        x, y = np.rint(shot.pixels[t, wrist]).astype(int)
        if surface.bone[t, y, x] != forearm:
            continue  # behind another bone
        a, b = (t, t + 1) if t + 1 < len(flow) else (t - 1, t)
        expected = shot.pixels[b, wrist] - shot.pixels[a, wrist]
        # The pixel lies within 0.71 of the joint, and the bone's turning moves it by no more than that again.
        assert np.abs(flow[t, y, x] - expected).max() < 1.0, t
        seen += 1
    assert seen >= len(flow) // 2
    moves = np.diff(shot.pixels[:, wrist], axis=0)
    assert np.abs(moves).max() > 4.0  # it does move far more than the tolerance


def test_flow_video_can_be_decoded_to_pixels_per_frame():
    settings = ToySettings(frames=8, size=72)
    action = BY_NAME["jump_up"]
    clip = make_clip(action, 0, settings)
    shot = perform(action, numpy_generator(0, "toy", "jump_up", 0), 8, 72)
    bound = flow_bound(72)
    read = decode_flow(clip.pictures["flow"], bound)
    true = np.clip(true_flow(shot, surfaces(shot, 72)), -bound, bound)
    assert np.abs(read - true).max() <= 0.51 * bound / 127
    assert np.abs(true).max() > 0.3 * bound


def test_near_limbs_hide_far_ones_and_are_brighter():
    shot = shot_of("turn_away", frames=5)
    surface = surfaces(shot, 72)
    grey = depth_pictures(surface)[..., 0].astype(float)
    solid = np.isfinite(surface.depth)
    assert (grey[~solid] == 0).all()
    order = np.argsort(surface.depth[solid])
    assert (np.diff(grey[solid][order]) <= 0).all()
    # The trunk hides its own axis: its surface lies in front of the axis by about its radius.
    x, y = np.rint(shot.pixels[0, :2].mean(0)).astype(int)
    assert surface.depth[0, y, x] < shot.joints[0, :2, 2].mean()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_puppet_is_whole_and_stays_in_the_picture(action):
    for number in range(3):
        shot = perform(action, numpy_generator(7, number), 12, 72)
        assert shot.pixels.min() > -2.0
        assert shot.pixels.max() < 73.0
        ends = shot.joints[:, np.array(BONES)]  # (T, B, 2, 3)
        lengths = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=2)
        np.testing.assert_allclose(lengths, np.broadcast_to(lengths[:1], lengths.shape), rtol=1e-3)


def test_skeletons_and_flow_tell_classes_apart_better_than_rgb():
    """Nearest class mean over a few clips of the test classes, on square-root frame differences."""
    settings = ToySettings(frames=8, size=48)
    names = toy_classes("test")
    clips = [[make_clip(BY_NAME[name], number, settings) for number in range(5)] for name in names]

    def accuracy(kind: str) -> float:
        values = np.array([[clip.pictures[kind] for clip in row] for row in clips], dtype=np.float32)
        small = values.reshape(len(names), 5, 8, 12, 4, 12, 4, 3).mean((4, 6)) / 255
        features = np.sqrt(np.abs(np.diff(small, axis=2))).reshape(len(names), 5, -1)
        means, queries = features[:, :4].mean(1), features[:, 4]
        distances = ((queries[:, None] - means[None]) ** 2).sum(-1)
        return float((distances.argmin(1) == np.arange(len(names))).mean())

    assert min(accuracy("flow"), accuracy("depth"), accuracy("skeleton")) > accuracy("rgb")
    assert accuracy("flow") >= 0.6
