"""Experts of which not all is trained, through the main job: frozen backbones above all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from litemkd.config import Config, digest_of, load_config
from litemkd.errors import CheckpointError, ConfigError
from litemkd.stages.build import TeacherBundle, build_expert, load_model, tune_expert
from litemkd.tracking import download
from tests.job import SMOKE, Home, Job

FROZEN = ["teacher.modalities=[rgb, depth]", "teacher.expert.tune=frozen", "teacher.expert.train.recalibrate=0"]


@pytest.fixture(scope="module")
def home(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return job.home.copy(tmp_path_factory.mktemp("home"))


def words(*settings: str) -> list[str]:
    return [word for one in settings for word in ("--set", one)]


def test_a_teacher_of_frozen_experts(home: Home) -> None:
    made = home.made_by(lambda: home.must("teacher", *words(*FROZEN, "teacher.expert.views=2")))
    experts = [run for run in made if run.data.tags["litemkd.stage"] == "expert"]
    assert len(experts) == 2
    for run in experts:
        assert 0 < run.data.metrics["params/trained_m"] < run.data.metrics["params/all_m"]
        assert run.data.params["teacher.expert.tune"] == "frozen"
    kept = {path.name.partition("-")[0]: path for path in (home.data / "embeddings" / "frozen").glob("*.npy")}
    assert kept.keys() == {"train", "val", "test"}
    assert (
        len(list((home.data / "embeddings" / "frozen").glob("*.npy"))) == 8
    )  # of each modality; the train split twice
    with home.entered():
        (version,) = home.client.search_model_versions("name='litemkd-toy-teacher'", max_results=1)
        bundle = load_model(download("litemkd-toy-teacher", version.version))
    assert isinstance(bundle, TeacherBundle)
    config = load_config(SMOKE, FROZEN)
    for name, expert in bundle.experts.items():
        start = build_expert(config.teacher, name, config.data.frames, config.seed).state_dict()
        for key, value in expert.state_dict().items():  # type: ignore[operator]
            assert torch.equal(value, start[key]) == key.startswith("backbone."), key
    again = home.must("teacher", *words(*FROZEN, "teacher.expert.views=2", "seed=1"), "--teacher", "new")
    assert "teacher, 5-shot:" in again.output


@pytest.mark.slow
def test_a_teacher_whose_experts_have_adapters_is_saved_without_them(home: Home) -> None:
    network = "teacher.expert.backbone={name: 'timm:vit_tiny_patch16_224', weights: none, pooling: average}"
    settings = [network, "teacher.expert.tune=lora:2", "teacher.expert.train.recalibrate=0", "data.crop=32"]
    home.must("teacher", *words("teacher.modalities=[rgb]", "teacher.fusion.layers=0", *settings))
    with home.entered():
        (version,) = home.client.search_model_versions("name='litemkd-toy-teacher'", max_results=1)
        bundle = load_model(download("litemkd-toy-teacher", version.version))
    assert not [name for name in bundle.state_dict() if "parametrizations" in name]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["teacher.expert.tune=most"],
            "teacher.expert.tune: 'most' given; `all`, `frozen`, `last:N` (the last N",
        ),
        (["teacher.expert.tune=last:0"], "teacher.expert.tune: 'last:0' given; `all`, `frozen`,"),
        (
            ["teacher.expert.tune=frozen"],
            "teacher.expert.train.recalibrate: 16 given beside teacher.expert.tune = frozen, which leaves the",
        ),
        (
            ["teacher.expert.views=2"],
            "teacher.expert.views: 2 given beside teacher.expert.tune = all; 1 would do",
        ),
        (["teacher.expert.views=0"], "teacher.expert.views: 0 given; input should be greater than 0"),
    ],
)
def test_mistakes_are_told_with_their_key(given: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_config(SMOKE, given)


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        (
            "last:6",
            "teacher.expert.tune: 'last:6' given; it has 1 blocks, `last:1` or fewer, or `all`, would do",
        ),
        (
            "lora:4",
            "teacher.expert.tune: 'lora:4' given; it has no linear maps of attention, a vision transformer",
        ),
    ],
)
def test_what_a_backbone_does_not_have_is_told_with_its_key(tune: str, told: str) -> None:
    config = load_config(SMOKE, [f"teacher.expert.tune={tune}", "teacher.expert.train.recalibrate=0"])
    expert = build_expert(config.teacher, "rgb", 8, 0)
    with pytest.raises(ConfigError, match=re.escape(told)):
        tune_expert(expert, config.teacher, "rgb", 0)


def test_what_is_trained_counts_where_it_is_not_all() -> None:
    usual, same, frozen = (load_config(None, given) for given in ([], ["teacher.expert.tune=all"], FROZEN[1:]))
    assert digest_of(usual.teacher) == digest_of(same.teacher) != digest_of(frozen.teacher)
    assert "tune" not in str(usual.teacher)
    assert Config.model_validate(frozen.model_dump(mode="json")) == frozen


def test_each_modality_may_have_a_backbone_of_its_own(home: Home) -> None:
    streams = [
        "teacher.streams.rgb={tune: frozen, width: 24, train: {recalibrate: 0}}",
        "teacher.streams.depth={backbone: {name: 'timm:resnet10t', pooling: mean}, train: {episodes: 2}}",
    ]
    home.must("teacher", *words("teacher.modalities=[rgb, depth]", *streams))
    with home.entered():
        (version,) = home.client.search_model_versions("name='litemkd-toy-teacher'", max_results=1)
        bundle = load_model(download("litemkd-toy-teacher", version.version))
    assert isinstance(bundle, TeacherBundle)
    assert version.tags["litemkd.backbone"] == "conv4+timm:resnet10t"
    assert bundle.teacher.fusion.widths == {"rgb": 24, "depth": 128}
    clips = {name: torch.rand(2, 8, 3, 36, 36) for name in ("rgb", "depth")}
    assert bundle.features(clips).shape == (2, 8, 24)


def test_a_video_encoder_is_chosen_by_its_name_and_saved_without_its_folder(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.models.test_video_encoders import folder_of

    folder = folder_of(tmp_path / "encoder", "videomae")
    stream = f"{{use: 'transformers:videomae', weights: '{folder}', tune: frozen}}"
    settings = ["teacher.modalities=[rgb, depth]", f"teacher.streams.rgb={stream}", "teacher.expert.width=16"]
    home.must("teacher", *words(*settings, "teacher.expert.train.recalibrate=0"))
    shutil.rmtree(folder)
    with home.entered():
        (version,) = home.client.search_model_versions("name='litemkd-toy-teacher'", max_results=1)
        model = shutil.copytree(download("litemkd-toy-teacher", version.version), tmp_path / "model")
        bundle = load_model(model)
    assert isinstance(bundle, TeacherBundle)
    assert version.tags["litemkd.backbone"] == "transformers:videomae+conv4"
    assert bundle.experts["rgb"].backbone.model.width == 24
    described = json.loads((model / "model.json").read_text())
    described["teacher"]["streams"]["rgb"]["weights"] = str(tmp_path)
    (model / "model.json").write_text(json.dumps(described))
    with pytest.raises(
        CheckpointError, match=r"streams\.rgb\.weights: .* given; `none` would do, since a model"
    ):
        load_model(model)
    clips = {name: torch.rand(2, 8, 3, 36, 36) for name in ("rgb", "depth")}
    assert bundle.features(clips).shape == (2, 8, 16)


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (
            "{use: 'transformers:videmae'}",
            "teacher.streams.rgb.use: 'transformers:videmae' given; no such video or image",
        ),
        ("{use: 'transformers:xclip', width: 3}", "teacher.streams.rgb.width: no such key"),
        (
            "{use: 'transformers:xclip', tune: never}",
            "teacher.streams.rgb.tune: 'never' given; `all`, `frozen`",
        ),
    ],
)
def test_mistakes_in_a_video_encoder_are_told(stream: str, told: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_config(SMOKE, [f"teacher.streams.rgb={stream}"])


def test_weights_of_another_network_are_told_with_their_key(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.models.test_video_encoders import folder_of

    folder = folder_of(tmp_path / "encoder", "timesformer")
    config = load_config(SMOKE, [f"teacher.streams.rgb={{use: 'transformers:videomae', weights: '{folder}'}}"])
    told = f"teacher.streams.rgb.weights: '{folder}' given; its config.json is of timesformer; a folder"
    with pytest.raises(ConfigError, match=re.escape(told)):
        build_expert(config.teacher, "rgb", 8, 0)
