"""Arrays by frame of one's own, as the document has them, from files to a teacher."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from litemkd.models.experts import OWN_EXPERT
from litemkd.stages.build import load_model
from litemkd.tracking import download
from tests.job import ROOT, Home
from tests.stages.test_own_modality import SMALL

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text("utf-8"), re.M | re.S)
SENSORS, EXPERT = (
    next(text for kind, text in BLOCKS if kind == "python" and words in text)
    for words in ("class Glove", "(ArrayExpert)")
)
EXPERIMENT = next(text for kind, text in BLOCKS if kind == "yaml" and "glove:" in text)


def test_the_document_s_sensors_are_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_sensors.py").write_text(SENSORS + "\n\n" + EXPERT)
    data, teacher = EXPERIMENT.split("teacher:\n")
    own = data.replace("data:\n  modalities:\n    glove: ", "").strip()
    (tmp_path / "own.yaml").write_text(
        SMALL.replace("workers: 1}", f"workers: 1, modalities: {{glove: {own}}}}}") + "teacher:\n" + teacher
    )
    home = Home(tmp_path)
    (tmp_path / "rgb.yaml").write_text(SMALL + "teacher: {modalities: [rgb]}\n")
    home.run("prepare", config=tmp_path / "rgb.yaml")
    for place, video in enumerate(sorted((home.data / "videos").glob("*/*.mp4"))):
        file = home.data / "glove" / video.parent.name / f"{video.stem}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(place).uniform(0, 90, (5 + place % 4, 10)))
    done = home.run("teacher", config=tmp_path / "own.yaml")
    assert done.exit_code == 0, done.output
    with home.entered():
        bundle = load_model(download("litemkd-toy-teacher", 1))
        assert bundle.experts["glove"].features(torch.rand(2, 32, 10)).shape == (2, 4, 96)
        means = OWN_EXPERT.find("my_sensors:Means")(frames=4)
    assert means.features(torch.rand(2, 16, 10)).shape == (2, 4, 10)
    assert means.takes == (16, 10)
    sys.modules.pop("my_sensors", None)
