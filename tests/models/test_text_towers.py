"""Text towers against their own libraries, with tiny models that these make."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litemkd.errors import BackboneError
from litemkd.models.text_towers import check_tower, prompt_features, text_tower
from tests.towers import OPEN_CLIP, clip_folder, open_clip_file

TEXTS = ["a photo of waving", "x", "a photo of brushing hair with a very very long text that is cut somewhere"]
CPU = torch.device("cpu")


def test_clip_has_the_library_s_features(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = clip_folder(tmp_path)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(**tokens).pooler_output
    tower = text_tower("transformers:clip", tmp_path)
    found = tower.features(TEXTS, CPU)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert tower.width == found.shape[1] == 12
    assert torch.pdist(found).min() > 1e-2
    text = transformers.CLIPTextModelWithProjection.from_pretrained(tmp_path)  # the text half on its own
    text.save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    half = text_tower("transformers:clip", tmp_path / "half")
    torch.testing.assert_close(half.features(TEXTS, CPU), expected, rtol=0, atol=1e-6)
    assert half.identity() != tower.identity()


def test_open_clip_has_the_library_s_features(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    model, file = open_clip_file(tmp_path / "tiny")
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer(OPEN_CLIP)(TEXTS))
    tower = text_tower(f"open_clip:{OPEN_CLIP}", file)
    found = tower.features(TEXTS, CPU)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert tower.width == found.shape[1] == 12
    assert torch.pdist(found).min() > 1e-2


def test_templates_are_averaged_by_direction(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    clip_folder(tmp_path)
    tower = text_tower("transformers:clip", tmp_path)
    both = prompt_features(tower, ["a photo of {}", "{}, a video"], ["run", "walk"], CPU)
    for row, word in enumerate(["run", "walk"]):
        one, two = tower.features([f"a photo of {word}", f"{word}, a video"], CPU).double()
        mean = one / one.norm() + two / two.norm()
        expected = mean / mean.norm() * (one.norm() + two.norm()) / 2
        torch.testing.assert_close(both[row], expected.float(), rtol=1e-5, atol=1e-6)
    alone = prompt_features(tower, ["a photo of {}"], ["run"], CPU)
    assert torch.equal(alone, tower.features(["a photo of run"], CPU))


def test_mistakes_name_the_setting_and_what_would_do(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    clip_folder(tmp_path / "clip")
    (tmp_path / "clip/tokenizer.json").rename(tmp_path / "kept.json")
    with pytest.raises(BackboneError, match=r"weights: .* no tokenizer there"):
        text_tower("transformers:clip", tmp_path / "clip")
    with pytest.raises(BackboneError, match=r"weights: .* no config\.json there; a folder of CLIP"):
        text_tower("transformers:clip", tmp_path / "nowhere")
    (tmp_path / "kept.json").rename(tmp_path / "clip/tokenizer.json")
    (tmp_path / "clip/model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BackboneError, match=r"weights: .* cannot be read"):
        text_tower("transformers:clip", tmp_path / "clip").features(["x"], CPU)
    transformers.Dinov2Model(transformers.Dinov2Config(**{**_TINY})).save_pretrained(tmp_path / "clip")
    with pytest.raises(BackboneError, match=r"its config\.json is of dinov2"):
        text_tower("transformers:clip", tmp_path / "clip")
    for use, words in (
        ("clip", "transformers:clip, or open_clip:NAME"),
        ("transformers:bert", "transformers:clip would do"),
    ):
        with pytest.raises(ValueError, match=words):
            check_tower(use)


_TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}


def test_open_clip_s_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    _, file = open_clip_file(tmp_path / "tiny")
    with pytest.raises(BackboneError, match=r"use: .*no such model of open_clip; did you mean `ViT-B-16`"):
        text_tower("open_clip:ViT-B-16x", file)
    with pytest.raises(BackboneError, match=r"weights: .*no such file"):
        text_tower(f"open_clip:{OPEN_CLIP}", tmp_path / "nowhere")
    with pytest.raises(BackboneError, match=r"weights: .*cannot be read"):
        text_tower("open_clip:RN50", file).features(["x"], CPU)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litemkd.models.text_towers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"open_clip, which is not installed: pip install 'litemkd\[towers\]'"):
        check_tower("open_clip:ViT-B-16")
