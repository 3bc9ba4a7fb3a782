"""A modality of one's own, from a file outside the project to a student that learned from it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from litemkd.data.packs.crops import crop_clips
from litemkd.data.packs.pack import FramePack
from tests.job import ROOT, Home

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text("utf-8"), re.M | re.S)
CODE = next(text for kind, text in BLOCKS if kind == "python" and "(Modality)" in text)
EXPERIMENT = next(text for kind, text in BLOCKS if kind == "yaml" and "edges:" in text)
# A mirror that marks what it has mirrored, to see that it is asked.
MIRROR = """    encoding = "outlines"

    def mirror(self, clip):
        super().mirror(clip)
        clip[..., 0] = 255 - clip[..., 0]
"""
SMALL = """
base: toy/smoke.yaml
data: {toy: {clips_per_class: 3, frames: 6, size: 32}, frames: 4, short_side: 32, crop: 32, workers: 1}
episode: {shot: 1, queries: 1, way: 2}
evaluation: {shots: [1], val_episodes: 4, test_episodes: 4}
loss: {support: 0}
threads: 1
"""


def test_a_file_is_all_that_a_new_modality_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_modalities.py").write_text(CODE + "\n" + MIRROR)
    own = EXPERIMENT.replace("data:\n", "").replace("teacher:\n", "")
    names, teacher = re.match(r"(  modalities:\n.*?)(  modalities: .*)", own, re.S).groups()
    data = SMALL.replace("workers: 1}", "workers: 1, modalities: {edges: {use: 'my_modalities:Edges'}}}")
    assert "my_modalities:Edges" in names
    assert teacher.strip() == "modalities: [rgb, edges]"
    (tmp_path / "own.yaml").write_text(data + "teacher: {modalities: [rgb, edges]}\n")
    home = Home(tmp_path)
    done = home.run("distill", "--no-baseline", config=tmp_path / "own.yaml")
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "data/toy/packs").glob("edges_*")
    pack = FramePack(folder)
    assert pack.signed
    assert json.loads((folder / "index.json").read_text())["use"] == "my_modalities:Edges"
    note = json.loads((tmp_path / "data/toy/edges_l4/prepare.json").read_text())
    assert (note["method"], note["encoding"]) == ("canny", "outlines")
    card = (tmp_path / "data/toy/data_card.md").read_text()
    assert "Canny's edges of the RGB frames" in card
    clip = pack.clip(0)
    assert 0.01 < (clip > 128).mean() < 0.5
    crops = [crop_clips(pack, [0], 32, np.random.default_rng(seed))[0] for seed in range(8)]
    turned = clip[:, :, ::-1].copy()
    turned[..., 0] = 255 - turned[..., 0]
    assert all(np.array_equal(crop, clip) or np.array_equal(crop, turned) for crop in crops)
    assert any(np.array_equal(crop, turned) for crop in crops)
    assert (tmp_path / "data/toy/feature/edges").is_dir()
    sys.modules.pop("my_modalities", None)
