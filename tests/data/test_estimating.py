"""Clips through a network: batches, memory that runs out, bad clips among good ones, restart, settings."""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from litemkd.errors import CheckpointError, DataError
from litemkd.modalities.raft import Raft
from litemkd.recordings.times import sample_times
from litemkd.storage.weights import Weights
from tests.data.recordings import clip_of, frame_numbers, numbered_frames, prepared, write_video

NAMES = tuple(f"run/v{i}" for i in range(6))


@dataclass
class Grey:
    """A network that finds each frame's mean grey, and holds so many frames at once."""

    pairs: bool = False
    side: int = 0
    holds: int = 100
    name: str = "grey 1"
    batches: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def identity(self):
        return self.name

    def load(self):
        if self.name == "broken":
            raise CheckpointError("the weights are broken")

    def estimate(self, frames, following):
        if len(frames) > self.holds:
            raise torch.OutOfMemoryError("out of memory")
        self.batches.append(len(frames))
        self.sizes.append(frames.shape[1:3])
        return list((following if self.pairs else frames).mean(-1, keepdims=True))

    def encode(self, found, before, size, short_side):
        values = np.array([np.rint(one[one.shape[0] // 2 :, one.shape[1] // 2 :].mean()) for one in found])
        frames = np.empty((len(found), *size, 3), np.uint8)
        frames[:] = values[:, None, None, None]
        return frames


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        write_video(tmp_path / "videos" / f"{name}.mp4", numbered_frames(10 + 3 * i))
    return tmp_path


def prepare(source: Path, estimator, **changes):
    options = {"T": 8, "short_side": 24, "workers": 2, "method": "depth_anything", **changes}
    return prepared(source / "made", source, "depth", estimator=estimator, **options)


def made(source: Path, name: str) -> np.ndarray:
    return clip_of(source / "made/depth_l8" / name, 8)


def test_every_clip_gets_its_own(source):
    network = Grey()
    report = prepare(source, network)
    assert (report.made, report.kept, report.weights) == (6, 0, "grey 1")
    for i, name in enumerate(NAMES):
        assert made(source, name).shape == (8, 24, 32, 3)
        assert frame_numbers(made(source, name)) == sample_times(10 + 3 * i, 8).tolist()
    assert network.batches == [8] * 6
    assert set(network.sizes) == {(24, 32)}
    assert json.loads((source / "made/depth_l8/prepare.json").read_text())["weights"] == "grey 1"


def test_a_network_may_want_larger_frames_and_those_that_follow(source):
    network = Grey(pairs=True, side=36)
    prepare(source, network)
    assert set(network.sizes) == {(36, 48)}
    assert made(source, NAMES[0]).shape == (8, 24, 32, 3)
    # The last frame has none after it: it stands second in its pair.
    times = sample_times(10, 8).tolist()
    assert frame_numbers(made(source, NAMES[0])) == [t + 1 for t in times[:-1]] + times[-1:]


def test_when_memory_runs_out_batches_are_halved_and_that_is_said_once(source, caplog):
    network = Grey(holds=3)
    with caplog.at_level(logging.WARNING):
        prepare(source, network)
    assert network.batches == [2] * 24
    assert [record.getMessage() for record in caplog.records] == [
        "the device's memory is too small for 8 frames of 32x24 at once: going on with fewer"
    ]
    assert frame_numbers(made(source, NAMES[2])) == sample_times(16, 8).tolist()


def test_a_frame_that_no_memory_holds_is_told(source):
    with pytest.raises(
        DataError, match="v0: the device's memory is too small for one frame of 32x24; a smaller"
    ):
        prepare(source, Grey(holds=0), videos=NAMES[:1])


def test_a_bad_clip_does_not_stop_the_others(source):
    (source / "videos/run/v1.mp4").write_text("no video")
    write_video(source / "videos/run/v9.mp4", numbered_frames(5))
    with pytest.raises(DataError) as caught:
        prepare(source, Grey())
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 7 clips have no depth:"
    assert lines[1].startswith(f"  run/v1: cannot read video {source}/videos/run/v1.mp4 (8 bytes): ")
    assert lines[2] == f"  run/v9: {source}/videos/run/v9.mp4 has 5 frames; 8 are needed"
    report = prepare(source, Grey(), on_bad_clip="skip")
    assert (report.made, report.kept) == (0, 5)
    assert [name for name, _ in report.skipped] == ["run/v1", "run/v9"]


def test_only_what_is_missing_is_made(source):
    prepare(source, Grey())
    shutil.rmtree(source / "made/depth_l8" / NAMES[3])
    network = Grey()
    report = prepare(source, network)
    assert (report.made, report.kept) == (1, 5)
    assert network.batches == [8]
    idle = Grey()
    assert prepare(source, idle).kept == 6
    assert idle.batches == []


def test_an_interrupted_call_keeps_what_is_whole(source):
    class Interrupted(Grey):
        def estimate(self, frames, following):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().estimate(frames, following)

    with pytest.raises(KeyboardInterrupt):
        prepare(source, Interrupted())
    report = prepare(source, Grey())
    assert report.kept >= 2
    assert report.kept + report.made == 6


def test_other_weights_and_methods_are_not_mixed(source):
    prepare(source, Grey())
    with pytest.raises(DataError, match=r"other settings \(weights: grey 1 then, grey 2 now\); delete it"):
        prepare(source, Grey(name="grey 2"))
    shutil.copytree(source / "videos", source / "depth_videos")
    with pytest.raises(DataError) as caught:
        prepare(source, None, method="video")
    told = "weights: grey 1 then, None now; method: depth_anything then, video now; encoding: near_bright then"
    assert told in str(caught.value)


def test_broken_weights_stop_before_any_clip(source):
    with pytest.raises(CheckpointError, match="the weights are broken"):
        prepare(source, Grey(name="broken"))
    assert not list((source / "made").rglob("*.jpg"))


def test_a_network_is_for_its_own_method_alone(source):
    with pytest.raises(ValueError, match="a network is for its own way alone"):
        prepare(source, None)


def test_flow_of_raft_lies_in_the_folder(source):
    raft = Raft(Weights("raft_small", "random", ""), torch.device("cpu"))
    report = prepared(
        source / "made",
        source,
        "flow",
        T=2,
        short_side=24,
        method="raft_small",
        videos=NAMES[:1],
        workers=1,
        estimator=raft,
    )
    assert report.made == 1
    assert clip_of(source / "made/flow_l2" / NAMES[0], 2).shape == (2, 24, 32, 3)
    note = json.loads((source / "made/flow_l2/prepare.json").read_text())
    assert (note["weights"], note["encoding"]) == ("random, for checks only", "flow_xy")
