"""Experts of which not all is trained, through the main job: frozen backbones above all."""

from __future__ import annotations

import re

import pytest
import torch

from litemkd.config import Config, digest_of, load_config
from litemkd.errors import ConfigError
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
    kept = {path.name.partition("-")[0]: path for path in (home.data / "frozen").glob("*.npy")}
    assert kept.keys() == {"train", "val", "test"}
    assert len(list((home.data / "frozen").glob("*.npy"))) == 8  # of each modality; the train split twice
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
