"""A watched stream says what `predict` says of the same windows, and drops what comes too fast."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.front import Asked, watch
from litemkd_runtime.reading import seen
from litemkd_runtime.streams import Frame, Stream
from litemkd_runtime.watching import Examples, Pace, Watcher

from litemkd.cli import main
from litemkd.data.finding.loose import centre_crops, read_centre
from litemkd.evaluation.calibration import Calibration, Temperature
from litemkd.evaluation.recognition import Recogniser
from litemkd.models.backbones import Backbone
from litemkd.models.heads import OTAM
from litemkd.models.student import Student
from litemkd.stages.watch import TorchEngine
from tests.helpers import frames_kept_by

T, SIDE = 4, 32
RATE = 10


def film(path: Path, frames: int, seed: int) -> Path:
    """A video of blobs that move, 48 x 40."""
    rng = np.random.default_rng(seed)
    at, step = rng.uniform(0, 30, 2), rng.uniform(-2, 2, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for n in range(frames):
            picture = np.full((40, 48, 3), 30 + seed, np.uint8)
            y, x = ((at + n * step) % 30).astype(int)
            picture[y : y + 9, x : x + 9] = (200, 40 * seed % 255, 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def student(temporal: str = "none", normalise: str = "imagenet") -> Student:
    torch.manual_seed(0)
    backbone = Backbone("conv4", temporal=temporal, normalise=normalise, frames=T)
    return Student(backbone, OTAM(8, frames=T), width=8).eval()


def recogniser(**made: str) -> Recogniser:
    kept = Calibration((Temperature(2, 2, 3.0, 9, -1e9),), "logit")
    return Recogniser(student(**made), frames=T, crop=SIDE, short_side=SIDE, calibration=kept)


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("support")
    return {
        name: [film(root / f"{name}{i}.mp4", 13, 10 * c + i) for i in range(2)]
        for c, name in enumerate(("up", "down"))
    }


@pytest.mark.parametrize("temporal", ["none", "shift-causal", "difference"])
@pytest.mark.parametrize("normalise", ["imagenet", "motion"])
def test_it_says_what_predict_says_of_the_same_windows(
    tmp_path: Path, support: dict[str, list[Path]], temporal: str, normalise: str
) -> None:
    model = recogniser(temporal=temporal, normalise=normalise)
    engine = TorchEngine(model)
    assert engine.frame_by_frame is (temporal == "none" and normalise == "imagenet")
    path, told = film(tmp_path / "long.mp4", 40, 5), io.StringIO()
    pace = Pace(window=1.2, smoothing=0.0, hold=1)  # 12 frames of 10 a second: every fourth
    watch(engine, Asked(str(path), support, pace=pace, as_json=True), told, io.StringIO())
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    with av.open(str(path)) as container:
        frames = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    labels = np.array([0, 0, 1, 1])
    clips = np.stack([read_centre(one, T, SIDE, SIDE) for paths in support.values() for one in paths])
    assert len(lines) == 7  # of the 10 frames that are looked at the first three fill the window
    for place, line in enumerate(lines):
        cut = [seen(one, SIDE, SIDE) for one in frames[4 * place : 4 * place + 13 : 4]]
        features = model.features(np.concatenate([clips, np.stack(cut)[None]]))
        (wanted,) = model.probabilities(features[:4], labels, features[4:])
        np.testing.assert_allclose(list(line["probabilities"].values()), wanted, atol=1e-5)
        assert line["window"] == pytest.approx([0.4 * place, 0.4 * place + 1.2], abs=1e-3)


def test_of_a_file_as_long_as_a_window_it_says_what_predict_says_of_the_file(
    tmp_path: Path, support: dict[str, list[Path]]
) -> None:
    path, told, model = film(tmp_path / "short.mp4", 13, 7), io.StringIO(), recogniser()
    asked = Asked(str(path), support, pace=Pace(window=1.2), as_json=True)
    watch(TorchEngine(model), asked, told, io.StringIO())
    (line,) = told.getvalue().splitlines()
    crops = [read_centre(one, T, SIDE, SIDE) for paths in support.values() for one in (*paths,)]
    features = model.features(np.stack([*crops, read_centre(path, T, SIDE, SIDE)]))
    wanted = model.probabilities(features[:4], np.array([0, 0, 1, 1]), features[4:])[0]
    np.testing.assert_allclose(list(json.loads(line)["probabilities"].values()), wanted, atol=1e-5)


class Made:
    """A stream of pictures of any size."""

    rate, source, live, dropped, reconnected = 10.0, "made", False, 0, 0

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def test_each_frame_is_looked_at_once_and_another_size_begins_anew(support: dict[str, list[Path]]) -> None:
    engine = TorchEngine(recogniser())
    examples = Examples(engine)
    examples.add_clips(support)
    assert examples.teach()
    looked: list[int] = []
    look = engine.look

    def counted(crops: np.ndarray) -> np.ndarray:
        looked.append(len(crops))
        return look(crops)

    engine.look = counted  # type: ignore[method-assign]
    sizes = [(40, 48)] * 8 + [(64, 36)] * 8
    frames = [Frame(n, n / 10, np.full((*size, 3), 9 * n, np.uint8), n == 8) for n, size in enumerate(sizes)]
    notes: list[str] = []
    watcher = Watcher(engine, Made(frames), Pace(window=0.3), notes.append)  # type: ignore[arg-type]
    watcher.learned(("up", "down"))
    found = list(watcher)
    assert looked == [1] * 16  # a step costs one frame, not four
    answered = [one.frame.number for one in found if one.answer is not None]
    assert answered == [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
    assert notes == ["0.8 s: the stream begins anew, 36x64"]


def _slowly(stream: Stream) -> Iterator[int]:
    for frame in stream:
        yield frame.number
        time.sleep(0.02)


def test_a_live_source_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litemkd_runtime.streams.is_live", lambda _: True)
    stream = Stream(str(film(tmp_path / "live.mp4", 30, 1)), retries=0)
    numbers: list[int] = []
    with pytest.raises(RecogniserError, match=r"lost \(ended\), 0 tries"):
        numbers.extend(_slowly(stream))
    assert numbers == sorted(set(numbers))
    assert len(numbers) + stream.dropped == 30
    assert stream.dropped > 0


def test_pictures_are_let_go_without_waiting_for_a_collection(tmp_path: Path) -> None:
    """Pictures in cycles stay until garbage is collected, which over an hour is later and later."""
    stream, numbers = Stream(str(film(tmp_path / "clip.mp4", 60, 0))), []
    assert frames_kept_by(lambda: numbers.extend(one.number for one in stream)) <= 2
    assert len(numbers) == 60


def test_a_lost_source_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litemkd_runtime.streams.is_live", lambda _: True)
    monkeypatch.setattr("litemkd_runtime.streams._WAITS", (0.0,))
    stream = Stream(str(film(tmp_path / "live.mp4", 5, 1)))
    frames = []
    for frame in stream:
        frames.append(frame)
        if stream.reconnected >= 2 and frame.fresh:
            break
    stream.close()
    assert frames[0].fresh is False
    assert frames[-1].fresh
    assert frames[-1].time >= frames[0].time


def test_examples_of_keys_are_kept_for_the_same_student(tmp_path: Path, support: dict[str, list[Path]]) -> None:
    engine = TorchEngine(recogniser())
    examples, again = Examples(engine), Examples(engine)
    examples.add_clips(support)
    examples.save(tmp_path / "enrolled.npz")
    again.load(tmp_path / "enrolled.npz")
    assert list(again.windows) == ["up", "down"]
    np.testing.assert_array_equal(again.windows["down"][1], examples.windows["down"][1])
    other = TorchEngine(recogniser())
    other.identity = "another"
    with pytest.raises(RecogniserError, match="examples of another student"):
        Examples(other).load(tmp_path / "enrolled.npz")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("97", "/dev/video97: no such camera; cameras: "),
        ("/dev/video98", "/dev/video98: no such camera"),
        ("nowhere.mp4", "nowhere.mp4: no such file; a video, a camera's number"),
        ("rtsp://127.0.0.1:9/x", "cannot be opened as video"),
    ],
)
def test_a_source_that_is_not_there(source: str, told: str) -> None:
    with pytest.raises(RecogniserError) as caught:
        Stream(source)
    assert told in str(caught.value)


def test_one_class_alone_is_refused(support: dict[str, list[Path]]) -> None:
    asked = Asked("x.mp4", {"up": support["up"]})
    with pytest.raises(RecogniserError, match=r"1 classes to tell apart \(up\); two or more folders"):
        watch(TorchEngine(recogniser()), asked, io.StringIO(), io.StringIO())


def test_help_teaches() -> None:
    told = CliRunner().invoke(main, ["watch", "--help"]).stdout
    assert "dropped and counted" in told
    assert "--enrolled" in told


def test_crops_of_a_stream_are_those_of_litemkd(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    path = film(tmp_path / "one.mp4", T, 3)
    with av.open(str(path)) as container:
        frames = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    ours = np.stack([seen(one, SIDE, SIDE) for one in frames])
    np.testing.assert_array_equal(ours, read_centre(path, T, SIDE, SIDE))
    assert centre_crops([picture], SIDE, SIDE, "x").shape == (1, SIDE, SIDE, 3)
