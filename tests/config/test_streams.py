"""A modality's expert may have other settings than the rest: some keys of `teacher.expert` in their place."""

from __future__ import annotations

import re

import pytest

from litemkd.config import Config, digest_of, load_config
from litemkd.errors import ConfigError
from tests.job import SMOKE


def teacher_of(*words: str):
    return load_config(SMOKE, words).teacher


def test_a_stream_has_what_it_says_and_the_rest_of_all() -> None:
    stream = "{backbone: {name: 'torchvision:resnet18'}, width: 64, tune: last:2, train: {recalibrate: 0}}"
    config = load_config(SMOKE, [f"teacher.streams.flow={stream}"])
    teacher = config.teacher
    flow, usual = teacher.expert_for("flow"), teacher.expert
    assert (flow.backbone.name, flow.width, flow.tune, flow.train.recalibrate) == ("resnet18", 64, "last:2", 0)
    assert flow.backbone.model_copy(update={"name": "conv4"}) == usual.backbone
    assert flow.train.model_copy(update={"recalibrate": 16}) == usual.train
    assert flow.head == usual.head
    assert teacher.expert_for("rgb") is usual
    assert teacher.streams["flow"]["backbone"] == {"name": "resnet18"}  # its one name
    assert teacher.networks == "conv4+resnet18"
    assert teacher.key_of("flow", "backbone") == "teacher.streams.flow.backbone"
    assert teacher.key_of("flow", "head") == "teacher.expert.head"
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_a_stream_that_says_what_all_do_is_the_same_expert() -> None:
    plain, same, other = (
        teacher_of(*words)
        for words in ([], ["teacher.streams.flow.width=128"], ["teacher.streams.flow.width=64"])
    )
    digests = [digest_of(teacher.expert_of("flow")) for teacher in (plain, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert digest_of(plain.expert_of("rgb")) == digest_of(other.expert_of("rgb"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "flow={}",
            "teacher.streams.flow: {} given; `use`, which names a class, or keys of teacher.expert would do",
        ),
        (
            "flow={backbon: 3}",
            "teacher.streams.flow.backbon: no such key; did you mean `teacher.streams.flow.backbone`?",
        ),
        ("flow.backbone={weigths: none}", "did you mean `teacher.streams.flow.backbone.weights`?"),
        (
            "flow.backbone={name: resnet19}",
            "teacher.streams.flow.backbone.name: 'resnet19' given; no such backbone; did",
        ),
        ("flow.tune=last", "teacher.streams.flow.tune: 'last' given; `all`, `frozen`, `last:N`"),
        (
            "flow.tune=frozen",
            "teacher.expert.train.recalibrate: 16 given beside teacher.streams.flow.tune = frozen, which",
        ),
        ("flow.views=3", "teacher.streams.flow.views: 3 given beside teacher.expert.tune = all; 1 would do"),
        ("flow.width=0", "teacher.streams.flow.width: 0 given; input should be greater than 0"),
        ("flow.head.tuples=[99]", "teacher.streams.flow.head.tuples: [99] given"),
        ("flow.train.episodes=0", "teacher.streams.flow.train.episodes: 0 given"),
        (
            "flow.backbone.weights=imagenet",
            "teacher.streams.flow.backbone.weights: 'imagenet' given; conv4 has none",
        ),
        ("acceleration.width=3", "teacher.streams.acceleration"),
    ],
)
def test_mistakes_are_told_once_with_their_key(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        load_config(SMOKE, [f"teacher.streams.{given}"])
    assert len(caught.value.problems) == 1


def test_the_width_that_a_loss_asks_for_is_that_of_the_first_modality() -> None:
    words = ["loss.feature=1", "loss.feature_form=plain", "teacher.streams.rgb.width=64"]
    with pytest.raises(ConfigError, match=r"student.width is 128, teacher.streams.rgb.width 64"):
        load_config(SMOKE, words)
    load_config(SMOKE, [*words[:2], "teacher.streams.flow.width=64"])
