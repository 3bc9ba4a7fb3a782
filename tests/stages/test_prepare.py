"""prepare on small folders of real recordings: what it refuses, and what it leaves out when told to."""

import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.config import Config, load_config
from litemkd.data.features import read_features, write_features
from litemkd.data.frames import encode_frame, write_frames
from litemkd.errors import DataError
from litemkd.report.card import card_markdown
from litemkd.runtime.distributed import Group
from litemkd.stages.prepare import prepare, prepare_part
from litemkd.stages.setup import Setup
from litemkd.stages.teacher import teacher_fingerprint
from tests.data.recordings import frame_numbers, numbered_frames, write_video
from tests.faults.trees import SETTINGS

CPU = torch.device("cpu")
SHARES = tuple(f"data.make_splits.{name}={1 / 3}" for name in ("train", "val", "test"))


@pytest.fixture
def mine(tmp_path: Path) -> Config:
    """Six classes, two a split, of three clips each; student and teacher see RGB alone."""
    source = tmp_path / "mine"
    for place, split in enumerate(("train", "val", "test")):
        names = [f"class{2 * place + i}/clip{c}" for i in range(2) for c in range(3)]
        for name in names:
            write_video(source / "videos" / f"{name}.mp4", numbered_frames(10))
        (source / "splits" / "mine").mkdir(parents=True, exist_ok=True)
        (source / "splits" / "mine" / f"{split}list03.txt").write_text("\n".join(names) + "\n")
    return load_config(
        None,
        [*SETTINGS, f"data.root={tmp_path}"],
    )


def changed(config: Config, **data: object) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def test_a_class_folder_in_no_list_is_refused_by_name(mine: Config):
    write_video(mine.source_dir / "videos" / "jumpng" / "a.mp4", numbered_frames(10))
    with pytest.raises(DataError, match=r"rgb has class folders that stand in no list of .*: jumpng; .*skip"):
        prepare(mine)
    data = prepare(changed(mine, on_unlisted_class="skip"))
    assert not any("jumpng" in name for name in data.packs["rgb"].names)


def test_a_short_clip_is_an_error_or_left_out_of_every_list(mine: Config):
    short = mine.source_dir / "videos" / "class0" / "clip0.mp4"
    short.unlink()
    write_video(short, numbered_frames(5))
    with pytest.raises(DataError, match=r"clip0\.mp4 has 5 frames; 8 are needed"):
        prepare(mine)
    data = prepare(changed(mine, on_bad_clip="skip"))
    assert "class0/clip0" not in data.splits["train"].videos
    assert data.card()["skipped"]["rgb"][0]["clip"] == "class0/clip0"
    assert len(data.splits["train"].videos) == 5


def test_an_unreadable_video_is_named(mine: Config):
    (mine.source_dir / "videos" / "class1" / "clip2.mp4").write_text("this is no video")
    with pytest.raises(DataError, match=r"class1/clip2\.mp4"):
        prepare(mine)


def test_overlapping_lists_are_refused(mine: Config):
    with (mine.source_dir / "splits" / "mine" / "testlist03.txt").open("a") as file:
        file.write("class0/clip1\n")
    with pytest.raises(DataError, match="class0"):
        prepare(mine)


def test_parts_made_at_the_same_time_are_the_whole(mine: Config):
    others = mine.dataset_dir / "rgb_l8" / "class0" / ".half"  # what another host is writing
    others.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        parts = [*pool.map(lambda rank: prepare_part(mine, (), Group(rank, 2))["rgb"], range(2))]
    assert [(part.made, part.kept) for part in parts] == [(9, 0), (9, 0)]
    assert others.is_dir()
    assert not list(mine.dataset_dir.glob("packs/*"))
    ended = prepare(mine)
    assert (ended.reports["rgb"].made, ended.reports["rgb"].kept) == (0, 18)
    assert not others.exists()
    shutil.rmtree(mine.dataset_dir / "rgb_l8")
    assert prepare(mine).digest == ended.digest


def test_a_part_is_asked_for_by_its_number(mine: Config, monkeypatch: pytest.MonkeyPatch):
    words = [f"data.root={mine.source_dir.parent}", *SETTINGS]
    command = ["prepare", *(word for one in words for word in ("--set", one))]
    wrong = CliRunner().invoke(main, [*command, "--shard", "4/4"])
    assert wrong.exit_code == 2
    assert "'4/4' given; 0/4 to 3/4 for four parts would do" in wrong.output
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    part = CliRunner().invoke(main, [*command, "--shard", "auto"])
    assert part.exit_code == 0, part.output
    assert "rgb: recordings: 6 made, 0 kept, 0 left out" in part.output
    assert "part 2 of 3, counted from 0, of the frames is in" in part.output
    made = {path.parent.name for path in mine.dataset_dir.glob("rgb_l8/*/clip*")}
    assert made == {"class4", "class5"}


def test_a_second_call_makes_nothing_and_sees_the_same_data(mine: Config):
    first, second = prepare(mine), prepare(mine)
    assert first.reports["rgb"].made == 18
    assert second.reports["rgb"].made == 0
    assert second.digest == first.digest


def test_what_students_see_does_not_depend_on_the_teacher(mine: Config):
    mine = changed(mine, derive={"flow": "dis"})
    alone, taught = prepare(mine), prepare(with_teacher(mine, modalities=("rgb", "flow")))
    assert taught.digest != alone.digest
    assert taught.student_digest == alone.student_digest
    one, other = (Setup(mine, CPU, data) for data in (alone, taught))
    assert one.protocol() == other.protocol()
    assert one.protocol("teacher") != other.protocol("teacher")
    assert one.protocol().endswith(f"data {alone.student_digest}")
    # Other RGB frames are other data, for students as well.
    write_frames(mine.dataset_dir / "rgb_l8" / "class0" / "clip0", np.zeros((8, 32, 43, 3), np.uint8))
    assert prepare(mine).student_digest != alone.student_digest


def with_teacher(config: Config, **teacher: object) -> Config:
    return config.model_copy(update={"teacher": config.teacher.model_copy(update=teacher)})


def test_with_features_on_disk_only_rgb_frames_are_needed(mine: Config):
    data = prepare(with_teacher(mine, modalities=("rgb", "flow", "depth"), experts="features"))
    assert list(data.packs) == ["rgb"]
    with pytest.raises(DataError, match="there is no flow for"):
        prepare(with_teacher(mine, modalities=("rgb", "flow", "depth")))


def test_a_teacher_on_features_is_known_by_their_content(mine: Config):
    config = with_teacher(mine, modalities=("rgb", "flow"), experts="features")
    data = prepare(config)
    made = {
        modality: {video: np.full((8, 4), 0.5, np.float32) for s in data.splits.values() for video in s.videos}
        for modality in ("rgb", "flow")
    }
    setup = Setup(config, CPU, data)
    prints = [teacher_fingerprint(setup)]  # with none there, which is told later
    for modality, values in made.items():
        write_features(mine.dataset_dir / "feature" / modality, values, {})
    prints += [teacher_fingerprint(setup), teacher_fingerprint(setup)]
    made["flow"]["class3/clip1"][7, 3] = 0.25  # one number of one frame
    write_features(mine.dataset_dir / "feature" / "flow", made["flow"], {})
    prints.append(teacher_fingerprint(setup))
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3


def test_recordings_of_other_endings_are_read_and_all_else_is_named(tmp_path: Path):
    disk = tmp_path / "disk"
    for place in range(6):
        for number in range(3):
            made = write_video(tmp_path / f"{place}-{number}.mpg", numbered_frames(10), "mpeg2video")
            ending = "MTS" if place == 5 else ("vob", "mpeg", "MPG")[number]
            (disk / f"class{place}").mkdir(parents=True, exist_ok=True)
            made.rename(disk / f"class{place}" / f"clip{number}.{ending}")
    for name in (
        "readme.txt",
        "class0/labels.csv",
        "class5/clip0.srt",
        ".DS_Store",
        "class5/._clip0.MTS",
        "Thumbs.db",
    ):
        (disk / name).touch()
    config = load_config(None, [*SETTINGS, f"data.root={tmp_path / 'data'}", f"data.videos={disk}", *SHARES])
    told = "passed over, no clips by their endings: 3: class0/labels.csv, class5/clip0.srt, readme.txt"
    for one in (config, changed(config, videos=None)):  # and not forgotten by a call that reads the lists alone
        data = prepare(one)
        assert sum(len(split.videos) for split in data.splits.values()) == 18
        assert "class5/clip0" in data.packs["rgb"].names
        assert data.remarks[-1] == told
        assert data.card()["passed_over"] == ["class0/labels.csv", "class5/clip0.srt", "readme.txt"]
        assert "* Passed over, no clips by their endings, 3: class0/labels.csv, " in card_markdown(data.card())


def test_what_lies_beside_recordings_in_their_own_folder_is_named(mine: Config):
    (mine.source_dir / "videos" / "class0" / "notes.txt").touch()
    write_video(mine.source_dir / "videos" / "class1" / "more" / "x.mp4", numbered_frames(10))
    write_video(mine.source_dir / "videos" / "loose.mp4", numbered_frames(10))
    data = prepare(changed(mine, derive={"flow": "dis"}), ["flow"])
    assert data.remarks[1:] == [
        "passed over, no clips by their endings: 3: "
        "videos/loose.mp4, videos/class0/notes.txt, videos/class1/more/"
    ]


def test_a_crawlers_two_endings_are_found_again_in_lists_made_here(tmp_path: Path):
    disk = tmp_path / "disk"
    for place in range(6):
        for number in range(3):
            name = disk / f"class{place}" / f"a_{number}.mp4"
            write_video(name, numbered_frames(10)).rename(name.with_name(f"a_{number}.mp4.mkv"))
    settings = [*SETTINGS, f"data.root={tmp_path / 'data'}", *SHARES]
    with_videos = load_config(None, [*settings, f"data.videos={disk}"])
    first, second = prepare(with_videos), prepare(load_config(None, settings))
    assert first.digest == second.digest
    assert "class0/a_1" in first.packs["rgb"].names
    # Lists of others name them with both endings, with one and with none.
    for ending in ("", ".mp4", ".mp4.mkv", ".avi"):
        lists = tmp_path / f"lists{ending}"
        lists.mkdir()
        for name, split in first.splits.items():
            (lists / f"{name}list03.txt").write_text("".join(f"{one}{ending}\n" for one in split.videos))
        other = changed(with_videos, lists=lists, root=tmp_path / f"data{ending}")
        assert prepare(other).digest == first.digest


@pytest.mark.parametrize("folders", ["NFC", "NFD"])
@pytest.mark.parametrize("kept", [False, True], ids=["recordings", "frames"])
def test_accents_meet_whatever_their_form(mine: Config, folders: str, kept: bool):
    """Folders as macOS unpacks them and lists as people write them, or the other way round."""
    names = {f"class{one}": unicodedata.normalize("NFD", f"café{one}") for one in range(6)}
    other = "NFC" if folders == "NFD" else "NFD"
    for path in sorted((mine.source_dir / "videos").iterdir()):
        path.rename(path.with_name(unicodedata.normalize(folders, names[path.name])))
    for path in (mine.source_dir / "splits" / "mine").iterdir():
        text = path.read_text()
        for plain, accented in names.items():
            text = text.replace(plain, unicodedata.normalize(other, accented))
        path.write_text(text)
    data = prepare(mine)
    assert data.splits["train"].classes == ("café0", "café1")
    if kept:
        for path in [mine.dataset_dir / "rgb_l8" / "prepare.json", *mine.dataset_dir.glob("packs")]:
            path.rename(path.with_name("gone"))
        for path in [one for one in (mine.dataset_dir / "rgb_l8").iterdir() if one.is_dir()]:
            path.rename(path.with_name(unicodedata.normalize(folders, path.name)))
        again = prepare(mine)
        assert again.reports["rgb"].method == "keep"
        assert again.digest == data.digest
    features = mine.dataset_dir / "feature" / "rgb"
    videos = data.splits["train"].videos
    write_features(features, {one: np.full((8, 4), place, np.float32) for place, one in enumerate(videos)}, {})
    for path in [one for one in features.iterdir() if one.is_dir()]:
        path.rename(path.with_name(unicodedata.normalize(folders, path.name)))
    assert read_features(features, videos, 8)[:, 0, 0].tolist() == list(range(len(videos)))


def test_two_clips_that_look_the_same_are_told_apart_in_words(mine: Config):
    frames = mine.dataset_dir / "rgb_l8"
    prepare(mine)
    (frames / "prepare.json").unlink()
    for form in ("NFC", "NFD"):
        write_frames(frames / "class0" / unicodedata.normalize(form, "é"), numbered_frames(8))
    path = mine.source_dir / "splits" / "mine" / "trainlist03.txt"
    path.write_text(f"{path.read_text()}class0/é\n")
    with pytest.raises(
        DataError, match=r"are both class0/é, in two Unicode forms that look the same \(.*\\u0301 and"
    ):
        prepare(mine)


def test_frames_at_full_rate_are_sampled_and_told(mine: Config):
    shutil.rmtree(mine.source_dir / "videos")
    names = [line for path in (mine.source_dir / "splits/mine").iterdir() for line in path.read_text().split()]
    for name in names:
        for modality, n in (("rgb", 20), ("flow", 19)):
            clip = mine.dataset_dir / f"{modality}_l8" / name
            clip.mkdir(parents=True)
            for t, frame in enumerate(numbered_frames(20)[: 8 if name == "class0/clip0" else n], 1):
                (clip / f"img_{t:05}.jpg").write_bytes(encode_frame(frame))
    data = prepare(with_teacher(mine, modalities=("rgb", "flow")))
    rgb, flow = (data.packs[one] for one in ("rgb", "flow"))
    assert frame_numbers(rgb.clip(int(rgb.rows(["class3/clip1"])[0]))) == [0, 3, 5, 8, 11, 14, 16, 19]
    assert frame_numbers(flow.clip(int(flow.rows(["class3/clip1"])[0]))) == [0, 3, 5, 8, 11, 14, 16, 18]
    assert frame_numbers(rgb.clip(int(rgb.rows(["class0/clip0"])[0]))) == list(range(8))
    assert data.remarks[1].startswith("8 frames taken of more (rgb): 17: class0/clip1, class0/clip2, ")
    assert data.remarks[2].startswith("8 frames taken of more (flow): 17: ")
    assert "* Kept, of more frames of rgb than are taken, 17: class0/clip1" in card_markdown(data.card())
