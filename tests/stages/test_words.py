"""A teacher that hears class names, from the experiment file to a distilled student, with a tiny CLIP."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
import torch
from mlflow import MlflowClient

from litemkd.config import Config, load_config
from litemkd.errors import ConfigError
from litemkd.stages.build import TeacherBundle, load_model
from litemkd.stages.setup import Setup
from litemkd.stages.words import heard, name_features, refuse_other_names
from litemkd.tracking import download
from tests.job import SMOKE, Home
from tests.towers import clip_folder

pytest.importorskip("transformers")

EXACT = "donot_use_mm_for_euclid_dist"  # of torch.cdist
FILE = f"""
base: {SMOKE}
data: {{toy: {{clips_per_class: 3, frames: 6, size: 32}}, frames: 4, short_side: 32, crop: 32}}
episode: {{shot: 1, queries: 1, way: 2}}
evaluation: {{shots: [1], val_episodes: 4, test_episodes: 4}}
loss: {{support: 0}}
teacher:
  modalities: [rgb]
  expert: {{width: 16, train: {{recalibrate: 0}}}}
  head: {{name: clip_fsar}}
  train: {{episodes: 8, validations: 1}}
  words: {{use: "transformers:clip", weights: CLIP, templates: ["a video of {{}}", "{{}}"], scale: 10}}
student: {{train: {{recalibrate: 0}}}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("words")
    clip_folder(folder / "clip", width=16)
    (folder / "words.yaml").write_text(FILE.replace("CLIP", str(folder / "clip")))
    home = Home(folder)
    done = home.run("distill", "--no-baseline", config=folder / "words.yaml")
    assert done.exit_code == 0, done.output
    return home


def config_of(home: Home, *overrides: str) -> Config:
    given = [f"data.root={home.folder / 'data'}", *overrides]
    return load_config(home.folder / "words.yaml", given)


@pytest.fixture(scope="module")
def setup(home: Home) -> Setup:
    with home.entered():
        return Setup.of(config_of(home))


def with_words(setup: Setup, home: Home, *overrides: str) -> Setup:
    return replace(setup, config=config_of(home, *overrides))


def test_the_teacher_hears_and_the_student_does_not(home: Home) -> None:
    with home.entered():
        bundle = load_model(download("litemkd-toy-teacher", "1"))
        student = load_model(download("litemkd-toy-student", "1"))
        tags = MlflowClient().get_model_version("litemkd-toy-teacher", "1").tags
    assert isinstance(bundle, TeacherBundle)
    assert bundle.teacher.names is not None
    assert bundle.teacher.names.scale == 10
    assert not hasattr(student, "names")
    assert tags["litemkd.words"] == "transformers:clip"


def test_features_of_names_are_kept_and_follow_the_videos(home: Home, setup: Setup) -> None:
    kept = list((home.data / "embeddings" / "words").glob("names-*.npy"))
    assert len(kept) == 1
    features = name_features(setup)
    for name, split in setup.data.splits.items():
        assert features[name].shape == (len(split.videos), 16)
        labels = torch.tensor(split.labels)
        same = labels[:, None] == labels
        assert torch.equal(torch.cdist(features[name], features[name], compute_mode=EXACT) < 1e-4, same)
    assert list((home.data / "embeddings" / "words").glob("names-*.npy")) == kept
    other = with_words(setup, home, 'teacher.words.templates=["{}"]')
    assert not torch.allclose(name_features(other)["train"], features["train"])


def test_a_second_distill_uses_the_teacher_again(home: Home) -> None:
    done = home.run("distill", "--no-baseline", config=home.folder / "words.yaml")
    assert done.exit_code == 0, done.output
    assert len(home.client.search_model_versions("name='litemkd-toy-teacher'")) == 1
    (run,) = home.runs("tags.`litemkd.stage` = 'teacher'")
    assert run.data.tags["litemkd.words"] == "transformers:clip"


def silent(setup: Setup, spoken: int = 0) -> Setup:
    """The same data, its classes named a00, a01, … but for some."""
    count, splits = 0, {}
    for name, split in setup.data.splits.items():
        names = tuple(
            one if count + place < spoken else f"a{count + place:02d}"
            for place, one in enumerate(split.classes)
        )
        splits[name] = replace(split, classes=names)
        count += len(names)
    return replace(setup, prepared=replace(setup.data, splits=splits))


def test_names_that_say_nothing_turn_words_off_and_that_is_told(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    assert heard(setup) is setup
    with caplog.at_level(logging.WARNING):
        off = heard(silent(setup))
    assert off.config.teacher.words is None
    assert "teacher.words: off, the names of the classes (a00, a01" in caplog.text
    assert json.dumps(off.config.teacher.model_dump(mode="json"))  # as a teacher without words is described


def test_mistakes(home: Home, setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.words\.names: no words for .* whose names say nothing"):
        heard(silent(setup, spoken=3))
    with pytest.raises(ConfigError, match=r"teacher\.words\.names: none given, the teacher hears names"):
        name_features(silent(setup))
    with pytest.raises(ConfigError, match=r"teacher\.words\.names: words for 'nope' given"):
        heard(with_words(setup, home, "teacher.words.names={nope: x}"))
    words = (
        r"have 16 numbers, and those of frames \(rgb, the first modality\) have 24; teacher\.expert\.width=16"
    )
    with pytest.raises(ConfigError, match=rf"teacher\.words\.weights: .*{words}"):
        refuse_other_names(with_words(setup, home, "teacher.expert.width=24"))
    with pytest.raises(ConfigError, match=r"teacher\.words\.weights: .*nowhere given; no config\.json there"):
        refuse_other_names(with_words(setup, home, f"teacher.words.weights={home.folder / 'nowhere'}"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("teacher.words.templates=[a video]", r"teacher\.words\.templates\.0: .*a text with \{\} once"),
        ("teacher.words.use=transformers:bert", r"teacher\.words\.use: .*transformers:clip would do"),
        ("teacher.words.names={a01: ' '}", r"teacher\.words\.names\.a01: .*words would do"),
        ("teacher.words.weight=-1", r"teacher\.words\.weight: -1 given"),
        ("teacher.words.tower=x", r"teacher\.words\.tower: no such key"),
    ],
)
def test_mistakes_in_the_file(home: Home, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(home, override)
