"""prepare on small folders of real recordings: what it refuses, and what it leaves out when told to."""

from pathlib import Path

import numpy as np
import pytest

from litemkd.config import Config, load_config
from litemkd.data.features import write_features
from litemkd.data.frames import write_frames
from litemkd.errors import DataError
from litemkd.stages.common import protocol
from litemkd.stages.prepare import prepare
from litemkd.stages.teacher import teacher_fingerprint
from tests.data.recordings import numbered_frames, write_video
from tests.faults.trees import SETTINGS


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
    assert protocol(mine, alone) == protocol(mine, taught)
    assert protocol(mine, alone, "teacher") != protocol(mine, taught, "teacher")
    assert protocol(mine, alone).endswith(f"data {alone.student_digest}")
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
    prints = [teacher_fingerprint(config, data)]  # with none there, which is told later
    for modality, values in made.items():
        write_features(mine.dataset_dir / "feature" / modality, values, {})
    prints += [teacher_fingerprint(config, data), teacher_fingerprint(config, data)]
    made["flow"]["class3/clip1"][7, 3] = 0.25  # one number of one frame
    write_features(mine.dataset_dir / "feature" / "flow", made["flow"], {})
    prints.append(teacher_fingerprint(config, data))
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3
