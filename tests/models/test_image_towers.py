"""Image towers as experts, each family with a tiny network that its library makes, and its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litemkd.cost.counting import count, meta, without_data
from litemkd.errors import BackboneError
from litemkd.models.adapters import attention_weights
from litemkd.models.experts import WholeClips
from litemkd.models.image_towers import TOWERS
from litemkd.models.named_experts import find_expert
from tests.towers import OPEN_CLIP, SMALL, clip_folder, open_clip_file

transformers = pytest.importorskip("transformers")
pytest.importorskip("open_clip")

T, SIDE = 3, 32
ADAPTED = {"clip": 8, "siglip": 10, "dinov2": 8, "dinov2_with_registers": 8, "dinov3": 8, "open_clip": 4}


def make(family: str, folder: Path) -> Any:
    """A tiny network and its processor in a folder; gives what the library makes of frames, (N, D)."""
    if family == "clip":
        model = clip_folder(folder)
        return lambda seen: model.get_image_features(seen).pooler_output
    torch.manual_seed(0)
    small = {**SMALL, "image_size": SIDE, "patch_size": 16}
    size = {"size": {"height": SIDE, "width": SIDE}}
    if family == "siglip":
        text = {**SMALL, "vocab_size": 50, "max_position_embeddings": 8, "projection_size": 16}
        config = transformers.SiglipConfig(text_config=text, vision_config=small)
        model = transformers.SiglipModel(config).eval()
        model.save_pretrained(folder)
        transformers.SiglipImageProcessor(**size).save_pretrained(folder)
        return lambda seen: model.get_image_features(seen).pooler_output
    if family == "dinov3":
        model = transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**small, num_register_tokens=2, initializer_range=0.3)
        )
        transformers.DINOv3ViTImageProcessor(**size).save_pretrained(folder)
    else:
        name = "Dinov2WithRegisters" if family == "dinov2_with_registers" else "Dinov2"
        config = getattr(transformers, f"{name}Config")(**small, mlp_ratio=2, initializer_range=0.3)
        model = getattr(transformers, f"{name}Model")(config)
        crop = {"size": {"shortest_edge": SIDE + 8}, "crop_size": {"height": SIDE, "width": SIDE}}
        transformers.BitImageProcessor(**crop, resample=3).save_pretrained(folder)
    model.eval().save_pretrained(folder)
    return lambda seen: model(seen).pooler_output


def expert_of(family: str, weights: Path) -> Any:
    use = f"open_clip:{OPEN_CLIP}" if family == "open_clip" else f"transformers:{family}"
    expert: Any = find_expert(use)(frames=T, weights=str(weights))
    expert.load()
    return expert.eval()


@pytest.fixture(scope="module", params=[*TOWERS, "open_clip"])
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """The family, where its weights are, and what the library makes of normalised frames."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "open_clip":
        model, file = open_clip_file(folder)
        return request.param, file, model.encode_image
    return request.param, folder, make(request.param, folder)


def clips_of(side: int = SIDE) -> Tensor:
    return torch.rand(2, T, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_features_are_the_library_s_own(tower: tuple[str, Path, Any]) -> None:
    family, weights, library = tower
    expert, clips = expert_of(family, weights), clips_of()
    with torch.inference_mode():
        found = expert.features(clips)
        expected = library(expert.normalised(clips).flatten(0, 1)).unflatten(0, (2, T))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expert.width == found.shape[-1]
    assert found.flatten(0, 1).std(0).mean() > 1e-3
    assert len(expert.blocks) == 2
    assert len(list(attention_weights(expert))) == ADAPTED[family]


def test_preprocessing_is_the_library_s_own(tower: tuple[str, Path, Any]) -> None:
    """Square pictures of the side that is cut, and of another that is resized to it."""
    family, weights, _ = tower
    expert = expert_of(family, weights)
    for side in (SIDE, 50):
        picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (side, side))
        if family == "open_clip":
            import open_clip

            prepare = open_clip.image_transform(SIDE, is_train=False)
            expected = prepare(Image.fromarray(picture))[None]
        else:
            processor = transformers.AutoImageProcessor.from_pretrained(weights)
            size = {"size": {"shortest_edge": SIDE}} if "crop_size" in processor.to_dict() else {}
            if processor.to_dict().get("crop_size") is None:
                size = {}
            expected = processor(picture, return_tensors="pt", **size)["pixel_values"]
        clip = torch.from_numpy(picture).permute(2, 0, 1)[None, None] / 255
        found = expert.normalised(clip)[0]
        level = 1 / 255 / float(expert.std.min())
        exact = side == SIDE
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if exact else 1.1 * level)


def test_another_side_costs_and_a_saved_model_need_no_file(tower: tuple[str, Path, Any]) -> None:
    family, weights, _ = tower
    expert, clips = expert_of(family, weights), clips_of(48)
    told = expert.described()
    assert told["weights"] == "none"
    again: Any = type(expert)(frames=T, **told).eval()
    again.load_state_dict(expert.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.features(clips), expert.features(clips))
    with torch.device("meta"):
        empty = WholeClips(type(expert)(frames=T, **told))
    features, work = count(without_data(empty), meta(1, T, 3, 48, 48))
    assert features.shape == (1, T, expert.width)
    assert work.macs > 0


def test_random_weights_in_the_library_s_usual_size_have_its_normalisation() -> None:
    with torch.device("meta"):
        expert: Any = find_expert("open_clip:ViT-B-32-SigLIP2-256")(frames=T)
    assert expert.told == {"side": 256, "mean": [0.5] * 3, "std": [0.5] * 3, "bicubic": True}
    assert expert.width == 768
    with torch.device("meta"):
        clip: Any = find_expert("open_clip:ViT-B-16")(frames=T)
    assert (clip.told["side"], clip.width, len(clip.blocks)) == (224, 512, 12)
    assert clip.told["mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_mistakes(tmp_path: Path) -> None:
    make("dinov2", tmp_path / "dino")
    with pytest.raises(
        BackboneError, match=r"weights: .*its config\.json is of dinov2; a folder of clip_vision"
    ):
        find_expert("transformers:clip")(frames=T, weights=str(tmp_path / "dino"))
    with pytest.raises(BackboneError, match=r"weights: .*no config\.json there"):
        find_expert("transformers:dinov3")(frames=T, weights=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no such video or image encoder; did you mean `dinov2`"):
        find_expert("transformers:dinov2x")
    with pytest.raises(ValueError, match="no such model of open_clip; did you mean `ViT-B-16`"):
        find_expert("open_clip:ViT-B-16x")
    _, file = open_clip_file(tmp_path / "tiny")
    with pytest.raises(BackboneError, match=r"weights: .*no such file; a file of open_clip's weights"):
        find_expert(f"open_clip:{OPEN_CLIP}")(frames=T, weights=str(tmp_path / "nowhere"))
    file.write_bytes(b"no tensors")
    expert: Any = find_expert(f"open_clip:{OPEN_CLIP}")(frames=T, weights=str(file))
    with pytest.raises(BackboneError, match=r"weights: .*cannot be read"):
        expert.load()


def test_eva_by_timm() -> None:
    """EVA needs no expert of its own: timm's networks are backbones by name."""
    import timm

    from litemkd.models.backbones import Backbone

    name = "eva02_tiny_patch14_224"
    network = Backbone(f"timm:{name}", weights="none", pooling="token", side=56).eval()
    whole = timm.create_model(name, dynamic_img_size=True, num_classes=0, global_pool="token").eval()
    whole.load_state_dict(network.features.state_dict(), strict=False)
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({"input_size": (3, 56, 56)}, model=whole)
    )
    picture = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    clip = torch.from_numpy(picture).permute(2, 0, 1)[None, None] / 255
    seen = (clip - network.mean) / network.std
    normalise = transform.transforms[-1]
    torch.testing.assert_close(seen[0, 0], normalise(clip[0, 0]), rtol=0, atol=1e-6)
    with torch.inference_mode():
        assert network(clip).shape == (1, 1, whole.num_features)
