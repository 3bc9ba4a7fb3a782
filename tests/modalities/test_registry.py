"""The modalities by name, what `--derive` asks for, and modalities of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from litemkd.config import Config, flatten, load_config
from litemkd.errors import ConfigError
from litemkd.modalities.record import Estimated
from litemkd.modalities.registry import (
    ARRAYS,
    PACKAGE,
    identity,
    modalities,
    modality,
    networks_of,
    parse_derive,
)
from litemkd.stages.prepare import with_derived

KNOWN = modalities({})
OWN = """
from functools import partial

import numpy as np
from litemkd.modalities.record import Computed, Modality

def half(clip, short_side):
    return clip.frames // 2

class Half(Modality):
    ways = (Computed("half", "half as bright", half),)

class Number(Modality):
    kind = "number"

class Joints(Modality):
    kind = "arrays"

class Made(Joints):
    ways = Half.ways

class Turned(Modality):
    def mirror(self, clip):
        clip[:] = 255 - clip[:, :, ::-1]

class Other(Half):
    usual = "third"

def dimmed(clip, short_side, by):
    return (clip.frames * by).astype("uint8")

class Dim(Modality):
    def __init__(self, name, *, by: float = 0.5):
        super().__init__(name)
        self.ways = (Computed(f"dim{by:g}", "darker", partial(dimmed, by=by)),)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of modalities in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_modalities.py").write_text(OWN, encoding="utf-8")
    yield
    sys.modules.pop("own_modalities", None)


def test_settings_of_ones_own_modality(own: None) -> None:
    words = ["data.modalities={d: {use: 'own_modalities:Dim', by: 0.25}}", "teacher.modalities=[rgb, d]"]
    config = load_config(None, words)
    assert flatten(config)["data.modalities.d.by"] == 0.25
    record = config.modality("d")
    assert record.ways[0].name == "dim0.25"
    assert identity(record) == 'own_modalities:Dim {"by": 0.25}'
    assert modalities(config.data.own_modalities)["d"].ways[0].name == "dim0.25"
    assert problems("data.modalities={d: {use: 'own_modalities:Dim', by: dark, to: 1}}") == [
        "data.modalities.d.by: 'dark' given; input should be a valid number, unable to parse string as a "
        "number",
        "data.modalities.d.to: no such key; did you mean `data.modalities.d.by`?",
    ]


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return caught.value.problems


def test_every_way_has_a_name_of_its_own_and_the_usual_one_is_among_them() -> None:
    ways = [way.name for record in KNOWN.values() for way in record.ways]
    assert len(set(ways)) == len(ways)
    assert not {"keep", "video"} & set(ways)
    first = ("rgb", "flow", "depth", "skeleton", "joints", "infrared", "rgb_difference", "audio")
    assert tuple(KNOWN) == tuple(PACKAGE) == first
    assert {name: record.encoding for name, record in KNOWN.items()} == {
        "rgb": "rgb",
        "flow": "flow_xy",
        "depth": "near_bright",
        "skeleton": "rgb",
        **dict.fromkeys(("joints", "infrared", "rgb_difference", "audio"), "rgb"),
    }
    assert {name for name, record in KNOWN.items() if record.kind == "arrays"} == ARRAYS
    assert all(record.unasked is None for record in KNOWN.values())


def test_networks_take_weights_by_their_names() -> None:
    networks = {way.name: way for record in KNOWN.values() for way in record.ways if isinstance(way, Estimated)}
    assert tuple(networks) == networks_of({}) == ("raft", "raft_small", "depth_anything", "keypoint_rcnn")
    for way in networks.values():
        assert way.build("random", torch.device("cpu")).identity() == "random, for checks only"
        with pytest.raises(ConfigError, match=f"data.weights.{way.name}: not given"):
            way.build(None, torch.device("cpu"))


def test_bare_names_take_the_usual_method() -> None:
    usual = {"flow": "dis", "depth": "depth_anything", "skeleton": "keypoint_rcnn"}
    assert parse_derive("flow,depth,skeleton", KNOWN) == (usual, [])
    words = " flow = raft ,skeleton=alphapose"
    assert parse_derive(words, KNOWN) == ({"flow": "raft", "skeleton": "alphapose"}, [])
    assert parse_derive("", KNOWN) == ({}, [])


def test_words_and_configuration_say_the_same() -> None:
    config, also = with_derived(load_config(None, ["data.derive.flow=dis"]), "flow=raft,skeleton")
    assert also == ("flow", "skeleton")
    assert config == load_config(None, ["data.derive={flow: raft, skeleton: keypoint_rcnn}"])


def test_all_mistakes_in_the_words_are_told_with_what_would_do() -> None:
    with pytest.raises(ConfigError) as caught:
        with_derived(load_config(None), "flwo,depth=dis,rgb,flow,flow=raft")
    assert caught.value.problems == [
        "--derive flwo: 'flwo' is not derived; flow, depth, skeleton, rgb_difference would do",
        "--derive depth=dis: depth is not made by 'dis'; depth_anything, adabins would do",
        "--derive rgb: 'rgb' is not derived; flow, depth, skeleton, rgb_difference would do",
        "--derive flow=raft: flow stands there twice; once would do",
    ]


def test_a_method_of_another_modality_is_a_mistake_of_the_configuration() -> None:
    assert problems("data.derive={depth: dis, rgb: raft, flow: alphapose}", "data.weights={raff: random}") == [
        "data.derive.depth: 'dis' given; depth_anything, adabins would do",
        "data.derive.rgb: 'raft' given; nothing: rgb is the videos themselves would do",
        "data.derive.flow: 'alphapose' given; dis, raft, raft_small, flownet2 would do",
        "data.weights.raff: no network has this name; raft, raft_small, depth_anything, keypoint_rcnn would do",
    ]


def test_unknown_modalities_are_told_where_they_stand() -> None:
    names = "'rgb', 'flow', 'depth', 'skeleton', 'joints', 'infrared', 'rgb_difference' or 'audio'"
    would = f"input should be {names}"
    words = ("teacher.modalities=[rgb, sound]", "data.derive.flwo=dis", "data.frames_zip={l: l.zip}")
    assert problems(*words) == [
        f"teacher.modalities.1: 'sound' given; {would}",
        f"data.derive.flwo: 'flwo' given; {would}",
        f"data.frames_zip.l: 'l' given; {would}",
    ]


def test_a_modality_of_ones_own_is_named_in_the_experiment(own: None) -> None:
    words = ["data.modalities={half: {use: 'own_modalities:Half'}}", "teacher.modalities=[rgb, half]"]
    config = load_config(None, words)
    assert config.modalities == ("rgb", "half")
    assert config.modality("half").unasked == "half"
    assert flatten(config)["data.modalities.half.use"] == "own_modalities:Half"
    assert parse_derive("half", modalities(config.data.own_modalities)) == ({"half": "half"}, [])
    assert "modalities" not in flatten(Config().data)
    assert "modalities" not in repr(Config().data)
    gone = config.model_copy(update={"data": Config().data})  # as of a registered teacher of somebody else
    with pytest.raises(ConfigError, match="'half' given: no installed package offers a modality"):
        gone.modality("half")


@pytest.mark.parametrize(
    ("name", "use", "said"),
    [
        (
            "flow",
            "own_modalities:Half",
            ".flow: 'flow' given; a modality that comes with litemkd",
        ),
        ("a.b", "own_modalities:Half", "letters, digits and _ would do, since it names folders"),
        (
            "x",
            "own_modalities:Hlaf",
            ".x.use: 'own_modalities:Hlaf' given; no Hlaf in own_modalities; did",
        ),
        (
            "x",
            "own_modalities:half",
            "that is a function; a subclass of litemkd.modalities.record.Modality",
        ),
        ("x", "no_module:Half", "no module no_module in "),
        ("x", "half", "no installed package offers a modality of that name; known: rgb, flow"),
        (
            "x",
            "own_modalities:Number",
            "its kind is 'number', which nothing carries; frames or arrays would do",
        ),
        (
            "x",
            "own_modalities:Made",
            "it has ways to make arrays, which are only read, from files",
        ),
        ("x", "own_modalities:Turned", "so its frames are no plain ones; an `encoding` would do"),
        ("x", "own_modalities:Other", "usual = 'third' is none of its ways; half would do"),
    ],
)
def test_classes_that_do_not_do_are_told(own: None, name: str, use: str, said: str) -> None:
    (problem,) = problems(f"data.modalities={{{name}: {{use: '{use}'}}}}")
    assert said in problem


def test_arrays_are_looked_at_by_an_expert_of_arrays_or_are_features_on_disk(own: None) -> None:
    words = ["data.modalities={j: {use: 'own_modalities:Joints'}}", "teacher.modalities=[rgb, j]"]
    assert problems(*words) == [
        "teacher.modalities: 'j' given, arrays by frame, and teacher.expert looks at pictures; an expert of "
        "arrays, as teacher.streams.j={use: series}, would do, or teacher.experts=features, which reads "
        "features from feature/"
    ]
    assert problems("teacher.modalities=[rgb, joints]", "teacher.streams.rgb={use: joints}") == [
        "teacher.streams.rgb.use: 'joints' given, which looks at arrays, and rgb is of pictures; an expert "
        "of pictures would do",
        "teacher.modalities: 'joints' given, arrays by frame, and teacher.expert looks at pictures; an expert "
        "of arrays, as teacher.streams.joints={use: joints}, would do, or teacher.experts=features, which "
        "reads features from feature/",
    ]
    own_stream = [*words, "teacher.streams.j={use: series, dim: 3}"]
    assert load_config(None, own_stream).teacher.networks == "resnet50+series"
    assert load_config(None, [*words, "teacher.experts=features"]).teacher.modalities == ("rgb", "j")


def test_an_installed_package_offers_modalities_by_name(own: None, tmp_path: Path) -> None:
    folder = tmp_path / "offers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[litemkd.modalities]\nhalf = own_modalities:Half\n")
    sys.path.append(str(tmp_path))
    assert load_config(None, ["teacher.modalities=[rgb, half]"]).modality("half").ways[0].name == "half"
    assert modality("dim", "half").name == "dim"
    (folder / "entry_points.txt").write_text("[litemkd.modalities]\nhalf = own_modalities:Number\n")
    with pytest.raises(
        ConfigError, match="the modality half that an installed package offers: its kind is 'num"
    ):
        modalities({})
