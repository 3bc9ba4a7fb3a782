"""Faulty data sets: one clear error, or clips left out, counted and listed; never a wrong label or a hang."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

from litemkd.data.finding.catalogue import find_videos
from litemkd.data.frames import write_frames
from litemkd.data.packs.pack import build_pack
from litemkd.data.splits import read_splits
from litemkd.errors import DataError
from litemkd.report.card import card_markdown
from litemkd.stages.prepare import prepare
from tests.data.recordings import write_video
from tests.faults.trees import (
    CLIPS,
    FRAMES,
    NAMES,
    SETTINGS,
    VICTIM,
    VIDEOS,
    check_labels,
    check_nothing_half,
    clip,
    config_of,
    frames_tree,
    grey,
    videos_tree,
    write_lists,
)
from tests.job import Home

LONGEST = 40  # seconds; a hang is a failure
SKIP = "data.on_bad_clip=skip"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    def ring(signum: int, frame: FrameType | None) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def check_both_ways(root: Path, said: str, file: Path) -> None:
    """An error that names the file and what would do, leaving nothing half; and the clip left out, listed."""
    with pytest.raises(DataError) as caught:
        prepare(config_of(root))
    words = str(caught.value)
    assert VICTIM in words
    assert said in words
    assert str(file) in words
    assert words.startswith("1 of ")  # not the others
    assert "data.on_bad_clip=skip" in words
    assert not list((root / "mine" / "packs").glob("rgb*"))
    check_nothing_half(root)
    for _ in range(2):  # the second time nothing is made anew, and the same is told
        data = prepare(config_of(root, SKIP))
        check_labels(data, {VICTIM})
        ((skipped, why),) = data.reports["rgb"].skipped
        assert skipped == VICTIM
        assert said in why
        assert data.remarks[1:] == [f"left out, no rgb (data.on_bad_clip=skip): 1: {VICTIM}"]
        card = json.loads((root / "mine" / "data_card.json").read_text())
        assert card["skipped"]["rgb"] == [{"clip": VICTIM, "reason": why}]
        assert f"* {VICTIM}: " in card_markdown(card)
    check_nothing_half(root)
    with pytest.raises(DataError, match=VICTIM):  # and not forgotten when it is to be an error again
        prepare(config_of(root))


@pytest.mark.parametrize("fault", FRAMES)
def test_a_broken_frame(fault: str, tmp_path: Path) -> None:
    folder = frames_tree(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make, said = FRAMES[fault]
    make(folder / "3.jpg")
    named = folder if "frames" in said else folder / "3.jpg"
    check_both_ways(tmp_path, said, named)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 500  # MB; the bombs are of 10,000


@pytest.mark.parametrize("fault", VIDEOS)
def test_a_broken_recording(fault: str, tmp_path: Path) -> None:
    file = videos_tree(tmp_path)
    make, said = VIDEOS[fault]
    make(file)
    check_both_ways(tmp_path, said, file)


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA", "P"])
def test_other_kinds_of_picture_are_the_same_picture(mode: str, tmp_path: Path) -> None:
    folder = frames_tree(tmp_path)
    for path in folder.iterdir():
        kind = "JPEG" if mode in ("CMYK", "L") else "PNG"
        Image.fromarray(clip(VICTIM)[0]).convert(mode).save(path, kind)
    check_labels(prepare(config_of(tmp_path)), set())


def test_all_modalities_leave_out_what_is_bad_in_one(tmp_path: Path) -> None:
    frames_tree(tmp_path)
    shutil.copytree(tmp_path / "mine/rgb_l8", tmp_path / "mine/flow_l8")
    other = "class3/clip0"
    (tmp_path / "mine/rgb_l8" / VICTIM / "2.jpg").write_bytes(b"")
    (tmp_path / "mine/flow_l8" / other / "2.jpg").write_bytes(b"")
    data = prepare(config_of(tmp_path, SKIP, "teacher.modalities=[rgb,flow]"))
    check_labels(data, {VICTIM, other})
    assert [[name for name, _ in data.reports[m].skipped] for m in ("rgb", "flow")] == [[VICTIM], [other]]
    check_labels(prepare(config_of(tmp_path, SKIP)), {VICTIM})


def test_too_much_left_out_is_an_error_that_says_so(tmp_path: Path) -> None:
    frames_tree(tmp_path)
    broken = [f"class0/clip{number}" for number in range(CLIPS)]
    for number, name in enumerate(broken[: CLIPS - 2]):
        (tmp_path / "mine/rgb_l8" / name / "1.jpg").write_bytes(b"")
        check_labels(prepare(config_of(tmp_path, SKIP)), set(broken[: number + 1]))
    for name in broken[CLIPS - 2 :]:
        (tmp_path / "mine/rgb_l8" / name / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(config_of(tmp_path, SKIP))
    assert "split train has no clip left of 1 classes: class0; 4 bad clips were left out" in str(caught.value)
    assert "class0/clip3: cannot read frame" in str(caught.value)
    shutil.rmtree(tmp_path / "mine/rgb_l8/class0/clip3")
    write_frames(tmp_path / "mine/rgb_l8/class0/clip3", clip("class0/clip3"))
    with pytest.raises(DataError, match=r"fewer than 2 videos .*class0 \(1\); 3 bad clips were left out"):
        prepare(config_of(tmp_path, SKIP))


def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    """As a user that is not root, who may read anything: a frame, then a class folder."""
    if not hasattr(os, "fork") or os.geteuid() != 0:
        pytest.skip("another user's rights are taken on by root only")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folder = frames_tree(root)
        shutil.copytree(root / "mine", tmp_path / "mine")
        prepare(config_of(tmp_path))  # all modules are loaded, which the other user may not be able to read
        for path in [root, *root.rglob("*")]:
            os.chown(path, 65534, 65534)
        (folder / "3.jpg").chmod(0)
        said = as_nobody(lambda: prepare(config_of(root)))
        assert f"cannot read frame {folder / '3.jpg'}: [Errno 13] Permission denied" in said
        assert as_nobody(lambda: check_labels(prepare(config_of(root, SKIP)), {VICTIM})) == ""
        folder.parent.chmod(0)
        said = as_nobody(lambda: prepare(config_of(root, SKIP)))
        assert said == f"DataError: cannot read the folder {folder.parent}: Permission denied"


def as_nobody(do: Callable[[], object]) -> str:
    """What is wrong with doing this in a process of user 65534."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads beside a fork: none of them is needed here
        child = os.fork()
    if child == 0:
        words = ""
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            do()
        except BaseException as error:
            words = f"{type(error).__name__}: {error}"
        os.write(writing, words.encode()[:4096])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def test_names_of_all_kinds(tmp_path: Path) -> None:
    """Spaces, other scripts, a leading dash, dots, quotes, what a shell or an address would take apart."""
    strange = {
        "class0": "-rf",
        "class1": "a b  c",
        "class2": "лыжи ⛷",
        "class3": "$(touch x); 'q' \"r\"",
        "class4": "http:",
        "class5": "%2e.mp4.d",
    }

    def named(name: str) -> str:
        one, _, stem = name.partition("/")
        return f"{strange[one]}/--{stem} é"

    for name in NAMES:
        write_video(tmp_path / "mine" / "videos" / f"{named(name)}.mp4", clip(name, 10))
    write_lists(tmp_path, named)
    data = prepare(config_of(tmp_path))
    pack = data.packs["rgb"]
    for name in NAMES:
        assert abs(float(pack.clip(int(pack.rows([named(name)])[0])).mean()) - grey(name)) < 3
    # Found, not listed: a name that a list cannot hold is refused.
    shutil.rmtree(tmp_path / "mine" / "splits")
    bad = tmp_path / "mine" / "videos" / "-rf" / "two\nlines.mp4"
    shutil.copy(tmp_path / "mine" / "videos" / f"{named(NAMES[0])}.mp4", bad)
    shutil.rmtree(tmp_path / "mine" / "rgb_l8")
    with pytest.raises(DataError, match="has a name that cannot stand in a list; rename it"):
        prepare(config_of(tmp_path))


def test_links_that_lead_back_show_no_clip_twice(tmp_path: Path) -> None:
    videos_tree(tmp_path)
    folder = tmp_path / "mine" / "videos"
    for link, target in {"class0/again": ".", "class0/up": "..", "round": ".", "class1/far": "../.."}.items():
        (folder / link).symlink_to(target)
    assert list(find_videos(folder).all()) == sorted(NAMES)
    (folder / "class9").symlink_to("class9")
    with pytest.raises(DataError, match=r"class9 is a link that leads nowhere \(.*symbolic links"):
        prepare(config_of(tmp_path))


@pytest.mark.parametrize("written", ["\r\n", "\ufeff", "spaces", "blank lines", ".MP4 7"])
def test_lists_as_other_programs_write_them(written: str, tmp_path: Path) -> None:
    frames_tree(tmp_path)
    plain = read_splits(tmp_path / "mine/splits/mine")
    for path in (tmp_path / "mine/splits/mine").iterdir():
        text = path.read_text()
        changed = {
            "\r\n": text.replace("\n", "\r\n"),
            "\ufeff": "\ufeff" + text,
            "spaces": text.replace("\n", "  \t\n"),
            "blank lines": "\n" + text.replace("\n", "\n\n"),
            ".MP4 7": text.replace("\n", ".MP4 7\n"),
        }[written]
        path.write_bytes(changed.encode())
    assert read_splits(tmp_path / "mine/splits/mine") == plain
    check_labels(prepare(config_of(tmp_path)), set())


def test_lists_that_are_wrong(tmp_path: Path) -> None:
    videos_tree(tmp_path)
    path = tmp_path / "mine/splits/mine/trainlist03.txt"
    right = path.read_text()
    lines = right.splitlines()
    for added, said in {
        lines[2]: f"trainlist03.txt:{len(lines) + 1}: {lines[2]} is already on line 3",
        "class0/../../etc": "goes out of the folder with '..'",
        "/etc/passwd": "is an absolute path",
        "C:\\clips\\one": "is an absolute path",
        "class0": "is not of the form class/video",
        "class4/clip0": "share 1 class: class4 (train and test)",
    }.items():
        path.write_text(f"{right}{added}\n")
        with pytest.raises(DataError) as caught:
            prepare(config_of(tmp_path, SKIP))
        assert said in str(caught.value)
    path.write_bytes(right.encode("utf-16"))
    with pytest.raises(DataError, match="as UTF-8 text"):
        prepare(config_of(tmp_path))


def test_names_in_the_wrong_case(tmp_path: Path) -> None:
    videos_tree(tmp_path)
    path = tmp_path / "mine/splits/mine/trainlist03.txt"
    right = path.read_text()
    path.write_text(right.replace(VICTIM, "class0/Clip1"))
    with pytest.raises(
        DataError, match=r"there is no .*class0/Clip1\.\*; class0/clip1 is there, in other letters"
    ):
        prepare(config_of(tmp_path))
    check_labels(prepare(config_of(tmp_path, SKIP)), {VICTIM})
    # One class in two spellings is never two classes.
    path.write_text(right.replace(VICTIM, "Class0/clip1").replace("class0/clip2", "Class0/clip2"))
    shutil.rmtree(tmp_path / "mine" / "rgb_l8")
    (tmp_path / "mine" / "videos").rename(tmp_path / "raw")
    with pytest.raises(DataError, match=r"spell a class in two ways, '[Cc]lass0' and '[Cc]lass0'; one of them"):
        prepare(config_of(tmp_path, f"data.videos={tmp_path / 'raw'}"))


def test_a_data_set_that_changes_under_a_run(tmp_path: Path) -> None:
    """What is mapped stays as it was; the next run sees the change; a file cut short is told."""
    folder = frames_tree(tmp_path)
    data = prepare(config_of(tmp_path))
    pack, digest = data.packs["rgb"], data.digest
    row = int(pack.rows([VICTIM])[0])
    write_frames(folder, np.zeros((8, 32, 40, 3), np.uint8))
    newer = prepare(config_of(tmp_path))
    assert newer.digest != digest
    assert not pack.folder.exists()  # built anew, beside
    assert abs(float(pack.clip(row).mean()) - grey(VICTIM)) < 3
    shutil.rmtree(tmp_path / "mine" / "packs")
    assert float(newer.packs["rgb"].clip(row).mean()) == 0
    # In place is how nothing here writes; another program might.
    again = prepare(config_of(tmp_path)).packs["rgb"]
    os.truncate(again.folder / "frames.bin", 100)
    with pytest.raises(DataError, match=r"frames\.bin was cut short by another program; run the command again"):
        again.clip(row)
    assert float(build_pack(tmp_path / "mine", "rgb", 8, list(again.names), 32).clip(row).mean()) == 0


def test_clips_in_which_nobody_is_found_are_told(tmp_path: Path) -> None:
    videos_tree(tmp_path)
    joints = [v for _ in range(17) for v in (20.0, 15.0, 0.9)]
    for name in NAMES:
        found = [] if name == VICTIM else [{"image_id": "3.jpg", "keypoints": joints, "score": 2.0}]
        path = tmp_path / "mine" / "alphapose" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    more = ("data.derive.skeleton=alphapose", "teacher.modalities=[rgb,skeleton]")
    for _ in range(2):
        data = prepare(config_of(tmp_path, *more))
        assert data.reports["skeleton"].blank == (VICTIM,)
        assert data.remarks[-1] == f"black in every frame of skeleton: 1: {VICTIM}"
        assert f"Kept, but black in every frame of skeleton, 1: {VICTIM}" in card_markdown(data.card())
        check_labels(data, set())


@pytest.mark.skipif(sys.platform == "win32", reason="makes links and pipes")
def test_the_command_tells_and_logs_what_it_leaves_out(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = frames_tree(tmp_path / "data")
    (folder / "3.jpg").unlink()
    os.mkfifo(folder / "3.jpg")
    (folder.parent / "clip2" / "5.jpg").write_bytes(b"x")
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    result = home.run("prepare", *words)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "litemkd prepare: 1 of 24 clips have no rgb:" in result.stderr
    result = home.must("prepare", *words, "--set", SKIP)
    assert f"left out, no rgb (data.on_bad_clip=skip): 2: {VICTIM}, class0/clip2" in result.output
    pipe = (folder / "3.jpg").relative_to(tmp_path)
    assert f"  {VICTIM}: cannot read frame {pipe}: it is a named pipe, not a file" in result.output
    (run,) = home.runs(dataset="mine")
    card = json.loads(home.artifact(run, "data_card.json").read_text())
    assert [one["clip"] for one in card["skipped"]["rgb"]] == [VICTIM, "class0/clip2"]
    assert run.info.status == "FINISHED"
