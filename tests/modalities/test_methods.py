"""The table of methods: every name is known everywhere, and what `--derive` asks for."""

from typing import get_args

import pytest

from litemkd.config import load_config
from litemkd.data.preparing.making import IMPORTS
from litemkd.errors import ConfigError
from litemkd.modalities.methods import METHODS, NETWORKS, USUAL, MethodName, methods_of, parse_derive
from litemkd.stages.build import build_estimator
from litemkd.stages.prepare import with_derived


def test_the_names_of_the_configuration_are_those_of_the_table():
    names = {name for part in get_args(MethodName) for name in (get_args(part) or (part,))}
    assert names == set(METHODS)
    assert {method.modality for method in METHODS.values()} == set(USUAL) == {"flow", "depth", "skeleton"}
    assert all(USUAL[modality] in methods_of(modality) for modality in USUAL)
    assert methods_of("rgb") == ()


def test_every_method_is_made_by_somebody():
    assert set(METHODS) == {"dis", "joints"} | set(IMPORTS) | set(NETWORKS)
    for name in NETWORKS:
        config = load_config(None, [f"data.weights.{name}=random", "device=cpu"])
        assert build_estimator(config, name).identity() == "random, for checks only"


def test_bare_names_take_the_usual_method():
    usual = {"flow": "dis", "depth": "depth_anything", "skeleton": "keypoint_rcnn"}
    assert parse_derive("flow,depth,skeleton") == (usual, [])
    assert parse_derive(" flow = raft ,skeleton=alphapose") == ({"flow": "raft", "skeleton": "alphapose"}, [])
    assert parse_derive("") == ({}, [])


def test_words_and_configuration_say_the_same():
    config, also = with_derived(load_config(None, ["data.derive.flow=dis"]), "flow=raft,skeleton")
    assert also == ("flow", "skeleton")
    assert config == load_config(None, ["data.derive={flow: raft, skeleton: keypoint_rcnn}"])


def test_all_mistakes_in_the_words_are_told_with_what_would_do():
    with pytest.raises(ConfigError) as caught:
        with_derived(load_config(None), "flwo,depth=dis,rgb,flow,flow=raft")
    assert caught.value.problems == [
        "--derive flwo: 'flwo' is not derived; flow, depth, skeleton would do",
        "--derive depth=dis: depth is not made by 'dis'; depth_anything, adabins would do",
        "--derive rgb: 'rgb' is not derived; flow, depth, skeleton would do",
        "--derive flow=raft: flow stands there twice; once would do",
    ]


def test_a_method_of_another_modality_is_a_mistake_of_the_configuration():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["data.derive={depth: dis, rgb: raft, flow: alphapose}"])
    assert caught.value.problems == [
        "data.derive.depth: 'dis' given; depth_anything, adabins would do",
        "data.derive.rgb: 'raft' given; nothing: rgb is the videos themselves would do",
        "data.derive.flow: 'alphapose' given; dis, raft, raft_small, flownet2 would do",
    ]
