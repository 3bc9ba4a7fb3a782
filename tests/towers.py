"""Tiny models of CLIP and its like, of random weights, made by their own libraries."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
OPEN_CLIP = "litemkd-tiny"  # as open_clip knows the tiny model


def clip_folder(folder: Path, width: int = 12, side: int = 32) -> Any:
    """A CLIP of transformers in a folder, with its tokenizer (a token a letter) and image processor."""
    import transformers

    letters = [*string.ascii_lowercase, *(f"{one}</w>" for one in string.ascii_lowercase)]
    tokens = {one: place for place, one in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    torch.manual_seed(0)
    words = {"vocab_size": len(tokens), "bos_token_id": 52, "eos_token_id": 53, "max_position_embeddings": 40}
    config = transformers.CLIPConfig(
        text_config={**SMALL, **words, "projection_dim": width},
        vision_config={**SMALL, "image_size": side, "patch_size": 16, "projection_dim": width},
        projection_dim=width,
        initializer_factor=5.0,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder)
    transformers.CLIPTokenizer(vocab=tokens, merges=[]).save_pretrained(folder)
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    return model


def open_clip_file(folder: Path, width: int = 12, side: int = 32) -> tuple[Any, Path]:
    """A model of open_clip that goes by `OPEN_CLIP` from then on in this process, and a file of its weights."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    layers = {"width": 16, "layers": 2}
    told = {
        "embed_dim": width,
        "vision_cfg": {**layers, "image_size": side, "patch_size": 16, "head_width": 8},
        "text_cfg": {**layers, "context_length": 20, "vocab_size": 49408, "heads": 2},
    }
    (folder / f"{OPEN_CLIP}.json").write_text(json.dumps(told))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(OPEN_CLIP, load_weights=False).eval()
    file = folder / "weights.safetensors"
    save_file({name: x.contiguous().clone() for name, x in model.state_dict().items()}, file)
    return model, file
