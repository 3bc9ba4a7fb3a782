"""The runner reads clips to the pixels that litemkd reads, and needs nothing of torch or MLflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import litemkd_runtime
import numpy as np
import pytest
from litemkd_runtime import RecogniserError
from litemkd_runtime.command import classes_of, queries_of
from litemkd_runtime.reading import read_crops, sample_times

from litemkd.data.finding.loose import read_centre
from litemkd.recordings import times
from tests.data.recordings import write_video

SIZES = [(48, 64), (64, 48), (36, 50), (30, 90), (24, 30)]  # to be shrunk, as it is, to be grown


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_videos_have_the_pixels_of_litemkd(size: tuple[int, int], tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (11, *size, 3), np.uint8)
    frames = np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in frames])
    write_video(tmp_path / "clip.mp4", frames)
    asked = (4, 36, 32)
    np.testing.assert_array_equal(
        read_crops(tmp_path / "clip.mp4", *asked), read_centre(tmp_path / "clip.mp4", *asked)
    )


def test_folders_of_pictures_have_the_pixels_of_litemkd(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(1, 13):  # 2 before 10
        frame = cv2.GaussianBlur(rng.integers(0, 256, (50, 70, 3), np.uint8), (0, 0), 2)
        cv2.imwrite(str(tmp_path / f"{number}.{'png' if number % 3 else 'jpg'}"), frame)
    np.testing.assert_array_equal(read_crops(tmp_path, 5, 36, 32), read_centre(tmp_path, 5, 36, 32))


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 100])
def test_frames_are_chosen_as_litemkd_does(n: int) -> None:
    np.testing.assert_array_equal(sample_times(n, 8), times.sample_times(n, 8))


def test_what_cannot_be_read_is_named_with_what_would_do(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(RecogniserError, match=r"text.mp4: cannot be read as a video"):
        read_crops(tmp_path / "text.mp4", 4, 36, 32)
    with pytest.raises(RecogniserError, match=r"gone.mp4: no such file"):
        read_crops(tmp_path / "gone.mp4", 4, 36, 32)
    write_video(tmp_path / "short.mp4", np.zeros((3, 40, 40, 3), np.uint8))
    with pytest.raises(RecogniserError, match=r"3 frames given; 4 or more"):
        read_crops(tmp_path / "short.mp4", 4, 36, 32)
    with pytest.raises(RecogniserError, match=r"frames of 30x30 given; 32 pixels or more"):
        read_crops(tmp_path / "short.mp4", 2, 30, 32)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"none")
    with pytest.raises(RecogniserError, match=r"1.jpg: is no JPEG or PNG"):
        read_crops(tmp_path / "pictures", 1, 36, 32)


def test_classes_and_queries_in_folders(tmp_path: Path) -> None:
    for name in ("wave/a.mp4", "wave/10.mp4", "wave/9.mp4", "clap/b/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = classes_of(tmp_path)
    assert {name: [one.name for one in clips] for name, clips in found.items()} == {
        "clap": ["b"],
        "wave": ["9.mp4", "10.mp4", "a.mp4"],
    }
    assert [one.name for one in queries_of(tmp_path)] == ["b", "9.mp4", "10.mp4", "a.mp4"]
    assert queries_of(tmp_path / "clap" / "b") == [tmp_path / "clap" / "b"]
    (tmp_path / "wave" / "more").mkdir()
    with pytest.raises(RecogniserError, match="1 class folders given; two or more"):
        classes_of(tmp_path / "wave")


def test_it_imports_nothing_of_litemkd_torch_or_mlflow() -> None:
    words = "import sys, litemkd_runtime.command; "
    words += (
        "print({one.partition('.')[0] for one in sys.modules} & {'litemkd', 'torch', 'mlflow', 'scipy', 'PIL'})"
    )
    where = Path(litemkd_runtime.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", words], cwd=where, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
