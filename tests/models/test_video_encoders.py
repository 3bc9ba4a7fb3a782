"""Video transformers as experts, each family with a tiny network that the library's own classes make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from litemkd.cost.counting import count, meta, without_data
from litemkd.errors import BackboneError
from litemkd.models.adapters import attention_weights
from litemkd.models.experts import WholeClips
from litemkd.models.named_experts import find_expert
from litemkd.models.video_encoders import FAMILIES

transformers = pytest.importorskip("transformers")

T, SIDE = 4, 32
SMALL = {"image_size": SIDE, "patch_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
ADAPTED = {"videomae": 8, "vjepa2": 8, "timesformer": 8, "xclip": 16}


def network_of(family: str, layers: int = 2, **more: object):
    """A tiny network of random weights, as its library makes it."""
    torch.manual_seed(0)
    small = {**SMALL, "hidden_size": 24, "num_hidden_layers": layers, "initializer_range": 0.3, **more}
    if family == "videomae":
        config = transformers.VideoMAEConfig(**small, num_frames=8)
        return transformers.VideoMAEModel(config).eval()
    if family == "timesformer":
        return transformers.TimesformerModel(transformers.TimesformerConfig(**small, num_frames=4)).eval()
    if family == "vjepa2":
        small = {key: value for key, value in small.items() if key not in ("image_size", "intermediate_size")}
        predictor = {"pred_hidden_size": 24, "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2}
        config = transformers.VJEPA2Config(
            **small | {"hidden_size": 48}, crop_size=SIDE, mlp_ratio=2.0, **predictor
        )
        return transformers.VJEPA2Model(config).eval()
    across = {"mit_hidden_size": 24, "mit_num_attention_heads": 2, "mit_intermediate_size": 32}
    words = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.XCLIPConfig(
        vision_config={**small, "num_frames": 4, **across},
        text_config={**words, "vocab_size": 50},
        projection_dim=24,
    )
    return transformers.XCLIPModel(config).eval()


def processor_of(family: str, **more: object):
    kind = transformers.VJEPA2VideoProcessor if family == "vjepa2" else transformers.VideoMAEImageProcessor
    size = {"crop_size": {"height": SIDE, "width": SIDE}, "size": {"shortest_edge": SIDE}}
    return kind(**{**size, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], **more})


def folder_of(path: Path, family: str, network=None, **more: object) -> Path:
    (network or network_of(family)).save_pretrained(path)
    processor_of(family, **more).save_pretrained(path)
    return path


def expert_of(family: str, folder: Path, frames: int = T):
    expert = FAMILIES[family](frames=frames, weights=str(folder))
    expert.load()
    return expert.eval()


def clips_of(frames: int = T, side: int = SIDE) -> Tensor:
    return torch.rand(2, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_library_s_tokens_by_slice_of_time(tmp_path: Path, family: str) -> None:
    network = network_of(family)
    expert = expert_of(family, folder_of(tmp_path, family, network))
    clips = clips_of()
    with torch.inference_mode():
        seen = (clips - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.25]).view(
            3, 1, 1
        )
        twice = seen.repeat_interleave(2, 1)
        if family == "videomae":
            expected = network(twice).last_hidden_state.view(2, T, 4, 24).mean(2)
        elif family == "vjepa2":
            expected = network.get_vision_features(twice).view(2, T, 4, 48).mean(2)
        elif family == "timesformer":
            expected = network(seen).last_hidden_state[:, 1:].view(2, 4, T, 24).mean(1)
        else:
            tokens = network.vision_model(seen.flatten(0, 1)).last_hidden_state
            expected = tokens[:, 1:].view(2, T, 4, 24).mean(2)
        torch.testing.assert_close(expert.features(clips), expected, rtol=1e-4, atol=1e-4)
    assert expected.std(1).mean() > 1e-3
    assert len(expert.blocks) == 2
    assert len(list(attention_weights(expert))) == ADAPTED[family]
    assert expert.width == expected.shape[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frame_is_seen_in_its_own_slice(tmp_path: Path, family: str) -> None:
    """Without layers nothing else could be: tokens are in the order of time."""
    expert = expert_of(family, folder_of(tmp_path, family, network_of(family, layers=0)))
    clips = clips_of()
    changed = clips.clone()
    changed[:, 2] = 1 - changed[:, 2]
    with torch.inference_mode():
        moved = (expert.features(changed) - expert.features(clips)).abs().amax((0, 2))
    assert moved[2] > 1e-3
    assert moved[[0, 1, 3]].max() == 0


@pytest.mark.parametrize("frames", [3, 4, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_clips_of_any_length_and_side_have_a_feature_a_frame(tmp_path: Path, family: str, frames: int) -> None:
    expert = expert_of(family, folder_of(tmp_path, family), frames)
    found = WholeClips(expert)(clips_of(frames, 40))
    assert found.shape == (2, frames, expert.width)
    found.sum().backward()
    assert all(x.grad is not None for x in expert.blocks[0].parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [SIDE, 40, 24])
def test_frames_are_seen_as_the_library_s_own_processor_shows_them(
    tmp_path: Path, family: str, side: int
) -> None:
    folder = folder_of(tmp_path, family)
    expert = expert_of(family, folder)
    frames = torch.randint(
        0, 256, (T, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    processor = transformers.AutoVideoProcessor if family == "vjepa2" else transformers.AutoImageProcessor
    theirs = processor.from_pretrained(folder)
    if family == "vjepa2":  # it cuts the middle of what is larger by 256 / 224; clips here are that middle
        shown = theirs(list(frames[None]), return_tensors="pt", size={"shortest_edge": SIDE})[
            "pixel_values_videos"
        ]
    else:
        shown = theirs(list(frames), return_tensors="pt")["pixel_values"]
    shown = torch.as_tensor(shown).reshape(1, T, 3, SIDE, SIDE)
    found = expert.normalised(frames[None] / 255)
    tolerance = 1e-4 if side == SIDE else 0.021  # a resized byte is rounded there: 1/255 of a std of 0.2
    torch.testing.assert_close(found, shown, rtol=0, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_one_needs_no_folder_and_no_data_to_be_counted(tmp_path: Path, family: str) -> None:
    expert = expert_of(family, folder_of(tmp_path, family))
    told = expert.described()
    with torch.device("meta"):
        empty = FAMILIES[family](frames=T, **told)
    assert {name: x.shape for name, x in empty.state_dict().items()} == {
        name: x.shape for name, x in expert.state_dict().items()
    }
    _, work = count(without_data(WholeClips(empty)), meta(1, T, 3, SIDE, SIDE))
    assert work.macs > 0
    again = FAMILIES[family](frames=T, **told).eval()
    again.load()
    again.load_state_dict(expert.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.features(clips_of()), expert.features(clips_of()))
    assert repr(WholeClips(again)) == repr(WholeClips(expert))


def changed(folder: Path, name: str, **values: object) -> None:
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(told | values))


@pytest.mark.parametrize(
    ("family", "damage", "told"),
    [
        (
            "videomae",
            lambda folder: changed(folder, "config.json", model_type="vivit"),
            "its config.json is of vivit",
        ),
        ("videomae", lambda folder: (folder / "config.json").unlink(), "no config.json there"),
        ("videomae", lambda folder: (folder / "config.json").write_text("[]"), "its config.json is no mapping"),
        (
            "timesformer",
            lambda folder: (folder / "config.json").write_text("{"),
            "its config.json cannot be read",
        ),
        (
            "xclip",
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            "no preprocessor_config.json there",
        ),
        ("vjepa2", lambda folder: (folder / "model.safetensors").unlink(), "its weights cannot be read"),
        (
            "vjepa2",
            lambda folder: (folder / "model.safetensors").write_bytes(b"no"),
            "its weights cannot be read",
        ),
        (
            "videomae",
            lambda folder: changed(folder, "config.json", hidden_size=48),
            "its weights cannot be read",
        ),
        (
            "videomae",
            lambda folder: changed(folder, "config.json", num_hidden_layers=3),
            "15 weights are not in it",
        ),
        (
            "videomae",
            lambda folder: changed(folder, "config.json", num_hidden_layers=999),
            "has 999 layers, and 256",
        ),
        (
            "videomae",
            lambda folder: changed(folder, "config.json", num_hidden_layers="many"),
            "its configuration is",
        ),
    ],
)
def test_a_folder_of_something_else_is_told(tmp_path: Path, family: str, damage, told: str) -> None:
    folder = folder_of(tmp_path, family)
    damage(folder)
    with pytest.raises(BackboneError, match=told) as caught:
        expert_of(family, folder)
    assert caught.value.setting == "weights"
    assert caught.value.given == str(folder)
    assert f"a folder of {FAMILIES[family].family}, as save_pretrained of" in caught.value.would


def test_what_a_stranger_s_description_may_say_is_what_a_network_is() -> None:
    told = {
        "config": {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    }
    told["config"] |= {
        "image_size": 32,
        "_attn_implementation": "somebody/kernels",
        "auto_map": {"AutoModel": "x"},
    }
    text = json.dumps({**told, "side": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "bicubic": False})
    expert = FAMILIES["videomae"](frames=T, architecture=text)
    assert expert.told["config"].keys() == told["config"].keys() - {"_attn_implementation", "auto_map"}


def test_a_family_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no such video or image encoder; did you mean `videomae`?"):
        find_expert("transformers:videmae")
    monkeypatch.setattr("litemkd.models.named_experts.find_spec", lambda name: None)
    told = r"it is of the package transformers, which is not installed: pip install 'litemkd\[video\]'"
    with pytest.raises(ValueError, match=told):
        find_expert("transformers:videomae")
