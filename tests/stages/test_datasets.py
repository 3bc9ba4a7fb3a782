"""Every data set of the field from its archive's folder to trained students, on made-up trees in its layout.

The commands are those of docs/datasets.md; the settings beside them make the models small and the episodes few.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from litemkd.cli import main
from litemkd.data.splits import read_splits
from tests.data import trees
from tests.data.test_zips import packed, picture
from tests.job import ROOT, Home

DOCUMENT = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
LINES = [line for line in "".join(BLOCKS).splitlines() if line.startswith("litemkd prepare --dataset")]
COMMANDS = {line.split()[3]: line for line in LINES}
CLIPS = 2  # of each class
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}
SMALL = (
    "threads=1 data.workers=1 data.short_side=24 data.crop=20 episode.shot=1 episode.queries=1 "
    "evaluation.report=false evaluation.pictures=false evaluation.shots=[1] "
    "evaluation.val_episodes=5 evaluation.test_episodes=10"
)
_TRAIN = "episodes=2 accumulate=1 batch=1 validations=1 schedule=constant milestones=[]"
MODELS = " ".join(
    [
        *(f"student.backbone.{word}" for word in ("name=conv4", "weights=none")),
        *(f"teacher.expert.backbone.{word}" for word in ("name=conv4", "weights=none")),
        *(f"{one}.width=16" for one in ("student", "teacher.expert")),
        *(f"{one}.head.width=16" for one in ("student", "teacher", "teacher.expert")),
        *(f"{one}.train.{word}" for one in ("student", "teacher", "teacher.expert") for word in _TRAIN.split()),
        "teacher.fusion.feed_forward=16",
        "teacher.fusion.layers=1",
    ]
)


def here(folder: Path) -> Home:
    """A working directory with the experiment files in it."""
    folder.mkdir(exist_ok=True)
    (folder / "experiments").symlink_to(ROOT / "experiments")
    return Home(folder)


def litemkd(home: Home, *words: str) -> Result:
    with home.entered():
        return CliRunner().invoke(main, [*words, "--device", "cpu"])


def documented(home: Home, dataset: str, *more: str) -> Result:
    """The command of docs/datasets.md, with small settings and others that override its own."""
    words = shlex.split(COMMANDS[dataset])[1:]
    return litemkd(home, *words, "--overrides", SMALL, *(word for one in more for word in ("--set", one)))


def worked(result: Result) -> Result:
    if result.exit_code or result.exception:
        raise AssertionError(result.output) from result.exception
    return result


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.partition("litemkd prepare: ")[2].strip()


def test_the_document_has_a_command_for_each() -> None:
    assert list(COMMANDS) == ["mine", "ucf101", "hmdb51", "kinetics100", "ssv2_small", "ssv2_full", "mine_too"]


@pytest.fixture(scope="module")
def ucf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Result, Result]:
    """UCF101, refused for its counts and then prepared all the same."""
    home = here(tmp_path_factory.mktemp("ucf"))
    trees.ucf101(home.folder, CLIPS)
    first = documented(home, "ucf101")
    assert not (home.folder / "data" / "ucf101").exists()  # nothing was written
    return home, first, worked(documented(home, "ucf101", "data.on_missing=skip"))


def test_ucf101_with_too_few_videos_is_told_split_by_split(ucf: tuple[Home, Result, Result]) -> None:
    assert refused(ucf[1]) == (
        "UCF-101 does not hold what is published for ucf101 (ucf_ARN):\n"
        "  train: 70 of 70 classes, 140 of 9154 videos\n"
        "    70 classes with fewer than the 100 videos all have: ApplyEyeMakeup (2), Archery (2), "
        "BabyCrawling (2), BalanceBeam (2), BandMarching (2) and 65 more\n"
        "    9014 videos missing\n"
        "  val: 10 of 10 classes, 20 of 1421 videos\n"
        "    10 classes with fewer than the 100 videos all have: ApplyLipstick (2), CricketShot (2), "
        "HammerThrow (2), HandstandPushups (2), HighJump (2) and 5 more\n"
        "    1401 videos missing\n"
        "  test: 21 of 21 classes, 42 of 2745 videos\n"
        "    21 classes with fewer than the 100 videos all have: BlowingCandles (2), CleanAndJerk (2), "
        "CliffDiving (2), CuttingInKitchen (2), Diving (2) and 16 more\n"
        "    2703 videos missing\n"
        "complete it and prepare again, or go on with what is there: --set data.on_missing=skip"
    )


def test_ucf101_is_prepared_with_the_published_split(ucf: tuple[Home, Result, Result]) -> None:
    home, _, result = ucf
    folder = home.folder / "data" / "ucf101"
    splits = read_splits(folder / "splits" / "ucf_ARN")
    for name, about in trees.facts("ucf101").splits.items():
        assert splits[name].classes == tuple(sorted(about.names))
    assert "HandstandPushups/v_HandStandPushups_g01_c02" in splits["val"].videos
    link = folder / "videos" / "HandstandPushups" / "v_HandStandPushups_g01_c02.avi"
    assert link.resolve() == home.folder / "UCF-101" / "HandstandPushups" / link.name
    assert (
        "splits: published classes (ucf_ARN), all their videos; in data/ucf101/splits/ucf_ARN" in result.stdout
    )
    assert "not as published (ucf_ARN):\n  train: 70 of 70 classes, 140 of 9154 videos\n" in result.stdout
    assert "prepared data/ucf101: videos train 140, val 20, test 42; modalities rgb, flow; " in result.stdout


def test_the_data_card_says_it_all(ucf: tuple[Home, Result, Result]) -> None:
    home, _, _ = ucf
    folder = home.folder / "data" / "ucf101"
    card = json.loads((folder / "data_card.json").read_text())
    assert card["splits"]["val"]["classes"] == 10
    assert card["splits"]["val"]["videos_of_class"]["Shotput"] == CLIPS
    assert card["published"]["val"] == {"classes": 10, "videos": 1421}
    assert card["modalities"]["flow"]["method"] == "dis"
    assert card["modalities"]["rgb"]["sizes"] == {"32 x 24": 202}
    page = (folder / "data_card.md").read_text()
    assert "| train | 70 | 140 | 70 | 9154 |" in page
    assert "| flow | optical flow by DIS, from the RGB videos | 202 | 8 | 32 x 24 (202) | `" in page
    assert "9014 videos missing" in page
    assert f"Digest `{card['digest']}`" in page
    assert f"`{card['student_digest']}`" in page
    (run,) = home.runs("tags.`litemkd.stage` = 'prepare'", dataset="ucf101")
    for name in ("data_card.json", "data_card.md"):
        logged = home.artifact(run, name).read_text()
        assert card["digest"] in logged
    assert run.data.params["data.videos"] == "UCF-101"


def test_ucf101_trains_without_being_told_again(ucf: tuple[Home, Result, Result]) -> None:
    home, _, _ = ucf
    config = ["--config", "experiments/ucf101/resnet18.yaml", "--overrides", f"{SMALL} {MODELS}"]
    done = worked(litemkd(home, "distill", *config, "--set", "teacher.modalities=[rgb,flow]"))
    assert "student, distilled" in done.stdout
    students = home.runs("tags.`litemkd.stage` = 'student'", dataset="ucf101")
    assert [run.data.tags["litemkd.distilled"] for run in students] == ["false", "true"]
    assert all(0 <= run.data.metrics["test/accuracy"] <= 100 for run in students)
    # Another teacher, the same students' data: they compete for champion.
    done = worked(litemkd(home, "student", *config, "--set", "teacher.modalities=[rgb]", "--seed", "1"))
    assert "registered model: litemkd-ucf101-student version 3" in done.stdout
    runs = home.runs("tags.`litemkd.stage` = 'student'", dataset="ucf101")
    assert len({run.data.tags["litemkd.protocol"] for run in runs}) == 1
    teachers = home.runs("tags.`litemkd.stage` = 'teacher'", dataset="ucf101")
    card = json.loads((home.folder / "data" / "ucf101" / "data_card.json").read_text())
    assert runs[0].data.tags["litemkd.protocol"].endswith(f"data {card['student_digest']}")
    assert len(teachers) == 1


def test_hmdb51_is_prepared_and_trained(tmp_path: Path) -> None:
    home = here(tmp_path)
    root = trees.hmdb51(home.folder, CLIPS)
    (root / "brush_hair").rename(root / "combing")
    told = refused(documented(home, "hmdb51"))
    assert told.startswith("hmdb51_org does not hold what is published for hmdb51 (hmdb_ARN):\n  train: ")
    assert "\n    1 class missing: brush_hair\n" in told
    (root / "combing").rename(root / "brush_hair")
    result = worked(documented(home, "hmdb51", "data.on_missing=skip"))
    assert "videos train 62, val 20, test 20; modalities rgb, flow; " in result.stdout
    splits = read_splits(home.folder / "data" / "hmdb51" / "splits" / "hmdb_ARN")
    assert splits["test"].classes == tuple(sorted(trees.facts("hmdb51").splits["test"].names))
    assert "pushup/A_(Very)_Nice_[Day]_&_;-)_50_clap_f_cm_np2_ri_med_1" in splits["test"].videos
    config = ["--config", "experiments/hmdb51/mobilenet_v3_small.yaml", "--overrides", f"{SMALL} {MODELS}"]
    done = worked(litemkd(home, "student", *config, "--set", "teacher.modalities=[rgb]"))
    assert "registered model: litemkd-hmdb51-student version 1" in done.stdout


def test_kinetics100_by_its_lists(tmp_path: Path) -> None:
    home = here(tmp_path)
    root, lists = trees.kinetics(home.folder, CLIPS)
    bare = ["--dataset", "kinetics100", "--videos", "kinetics400", "--overrides", SMALL]
    assert refused(litemkd(home, "prepare", *bare)) == (
        "kinetics100 needs its published lists, kinetics_CMN: {train,val,test}list03.txt; name their folder "
        "with --lists DIR, or put them into data/kinetics100/splits/kinetics_CMN"
    )
    (gone,) = root.glob("*/air?drumming/*0000001*.mp4")
    gone.unlink()
    told = refused(litemkd(home, "prepare", *bare, "--lists", "kinetics_CMN"))
    assert told == (
        "kinetics400 does not hold what is published for kinetics100 (kinetics_CMN):\n"
        "  train: 64 of 64 classes, 127 of 6400 videos\n    6273 videos missing\n"
        "  val: 12 of 12 classes, 24 of 1200 videos\n    1176 videos missing\n"
        "  test: 24 of 24 classes, 48 of 2400 videos\n    2352 videos missing\n"
        "  listed and not there: 1 clip: air_drumming/-aB_0000001_000012_000022\n"
        "complete it and prepare again, or go on with what is there: --set data.on_missing=skip"
    )
    small = "teacher.modalities=[rgb]"
    assert "air_drumming (1)" in refused(documented(home, "kinetics100", small))  # episodes need two
    trees.place([gone.with_name("-aB_0000001.mp4")])
    result = worked(documented(home, "kinetics100", small))
    assert "splits: published lists in kinetics_CMN; in data/kinetics100/splits/kinetics_CMN" in result.stdout
    assert "left out, in no list: 1 class folder: zumba" in result.stdout
    splits = read_splits(home.folder / "data" / "kinetics100" / "splits" / "kinetics_CMN")
    assert splits == read_splits(lists)
    # The lists are there now, and so are the links: nothing needs naming again.
    again = worked(litemkd(home, "prepare", *bare[:2], "--overrides", f"{SMALL} teacher.modalities=[rgb]"))
    assert again.stdout.splitlines()[-1] == result.stdout.splitlines()[-1]
    assert "zumba" in (home.folder / "data" / "kinetics100" / "data_card.md").read_text()


@pytest.mark.parametrize("dataset", ["ssv2_small", "ssv2_full"])
def test_something_something_by_its_lists(tmp_path: Path, dataset: str) -> None:
    home = here(tmp_path)
    trees.ssv2(home.folder, dataset, CLIPS)
    assert f"published for {dataset}" in refused(documented(home, dataset))
    result = worked(documented(home, dataset, "data.on_missing=skip", "teacher.modalities=[rgb]"))
    assert "videos train 128, val 24, test 48; modalities rgb; " in result.stdout
    link = home.folder / "data" / dataset / "videos" / "Pushing [something] from val to 3, slowly"
    assert len(list(link.glob("*.webm"))) == CLIPS


def own(folder: Path, classes: int, clips: int) -> Path:
    for one in range(classes):
        trees.place(folder / f"class {one:02}" / f"clip{c}.mp4" for c in range(clips))
    return folder


def test_own_videos_get_splits_from_a_seed(tmp_path: Path) -> None:
    home = here(tmp_path)
    videos = own(home.folder / "my_videos", 20, CLIPS)
    five = [f"data.make_splits.{split}={share}" for split, share in SHARES.items()]
    five.append("teacher.modalities=[rgb]")
    told = refused(documented(home, "mine"))
    assert told == (
        "split val is too small: it has 4 classes, 5-way episodes need 5; the split was made by the software "
        "(classes dealt out from seed 0): other shares of the classes (data.make_splits), smaller episodes, "
        "more data, or lists of your own (--lists DIR) would do"
    )
    assert not (home.folder / "data").exists()
    first = worked(documented(home, "mine", *five))
    lists = home.folder / "data" / "mine" / "splits" / "mine"
    assert "splits: classes dealt out from seed 0; in data/mine/splits/mine" in first.stdout
    before = read_splits(lists)
    assert [len(split.classes) for split in before.values()] == [10, 5, 5]
    assert len({one for split in before.values() for one in split.classes}) == 20
    # Another seed, another deal; the same one again, the same.
    worked(documented(home, "mine", *five, "data.split_seed=1"))
    assert read_splits(lists) != before
    worked(documented(home, "mine", *five))
    assert read_splits(lists) == before
    # A class that came later is dealt in when the videos are named again.
    trees.place(videos / "later" / f"{c}.mp4" for c in range(CLIPS))
    worked(documented(home, "mine", *five))
    assert any("later" in split.classes for split in read_splits(lists).values())


def test_own_lists_are_read_and_never_written_over(tmp_path: Path) -> None:
    home = here(tmp_path)
    own(home.folder / "my_videos", 15, CLIPS)
    lists = home.folder / "data" / "mine" / "splits" / "mine"
    lists.mkdir(parents=True)
    for place, split in enumerate(("train", "val", "test")):
        lines = [f"class_{one:02}/clip{c}.mp4" for one in range(5 * place, 5 * place + 5) for c in range(CLIPS)]
        (lists / f"{split}.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    before = {path.name: path.read_bytes() for path in lists.iterdir()}
    result = worked(documented(home, "mine", "data.split_seed=3", "teacher.modalities=[rgb]"))
    assert "splits: lists in data/mine/splits/mine\n" in result.stdout
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before
    # Others are not laid over them; a missing clip is named.
    other = home.folder / "other"
    shutil.copytree(lists, other)
    (other / "val.txt").write_text("class_05/clip0\nclass_05/clip1\nclass_05/clip2\n")
    words = ["--lists", "other", "--overrides", f"{SMALL} episode.way=2 loss.support=0 evaluation.shots=[1]"]
    command = shlex.split(COMMANDS["mine"])[1:]
    told = refused(litemkd(home, *command, *words))
    assert "other/" not in told
    assert "listed and not there: 1 clip: class_05/clip2\n" in told
    (other / "val.txt").write_text(
        "\n".join(f"class_{one:02}/clip{c}" for one in range(5, 9) for c in range(2))
    )
    told = refused(litemkd(home, *command, *words, "--set", "data.on_unlisted_class=skip"))
    assert told.startswith(
        "data/mine/splits/mine holds other lists, and they were not written here: move them away"
    )
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before


def test_frames_in_a_zip_file(tmp_path: Path) -> None:
    home = here(tmp_path)
    entries = {
        f"frames/class {one:02}/{clip}/{t}.jpg": picture(10 * one + t)
        for one in range(20)
        for clip in "ab"
        for t in range(1, 9)
    }
    packed(home.folder / "frames.zip", entries)
    shares = [f"data.make_splits.{split}={share}" for split, share in SHARES.items()]
    result = worked(documented(home, "mine_too", *shares, "data.crop=6"))
    assert "prepared data/mine_too: videos train 20, val 10, test 10; modalities rgb; " in result.stdout
    assert (
        "| rgb | frames as they were found | 40 | 8 |"
        in (home.folder / "data/mine_too/data_card.md").read_text()
    )
    packed(home.folder / "bad.zip", {**entries, "../../evil/a/1.jpg": b"x"})
    words = ["--dataset", "worse", "--set", "data.frames_zip.rgb=bad.zip", "--set", "teacher.modalities=[rgb]"]
    assert refused(litemkd(home, "prepare", *words)) == (
        "bad.zip: entry '../../evil/a/1.jpg' goes out of the folder with '..'; nothing was unpacked"
    )
    assert not list(tmp_path.rglob("evil"))


def test_what_does_not_go_together(tmp_path: Path) -> None:
    home = here(tmp_path)
    told = refused(litemkd(home, "prepare", "--videos", "UCF-101"))
    assert "given, but the toy data set makes its own; name yours with --dataset NAME" in told
    told = refused(litemkd(home, "prepare", "--dataset", "hmdb51", "--videos", "a", "--set", "data.source=b"))
    assert "data.videos: 'a' given beside data.source; one of them would do. With data.videos" in told
    told = refused(litemkd(home, "prepare", "--dataset", "hmdb51", "--videos", "a"))
    assert told == "a: no such folder; --videos DIR names the folder that the archive gave"
    told = refused(litemkd(home, "prepare", "--dataset", "hmdb51"))
    assert told.startswith(
        "data/hmdb51: no such folder; put the data set there, or name its folder with --data-root"
    )
    assert "`litemkd prepare --videos DIR`" in told
