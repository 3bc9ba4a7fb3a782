"""What docs/extending.md shows works as it stands, from files in a folder of their own to registered models."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litemkd.config import Config, digest_of, load_config
from litemkd.errors import CheckpointError, ConfigError
from litemkd.extending.declared import settings_of
from litemkd.models.catalogue import HEAD_SETTINGS
from litemkd.models.heads import HEADS
from litemkd.models.teacher import Fusion
from litemkd.search.space import read_space
from litemkd.stages.build import build_expert, build_student, describe_student, load_model
from litemkd.storage.checkpoints import save_model

ROOT = Path(__file__).parents[2]
SHORT = (
    "base: toy\n",
    f"base: {ROOT / 'experiments' / 'toy' / 'smoke.yaml'}\nthreads: 1\ndata: {{workers: 1}}\n",
)
NETWORKS = """
from torch import Tensor, nn


class Small(nn.Module):
    def __init__(self, *, width: int = 8, told: int = 8):
        super().__init__()
        self.out_channels = told
        self.layer = nn.Conv2d(3, width, 5, 4)

    def forward(self, frames: Tensor) -> Tensor:
        return self.layer(frames)
"""


def written(folder: Path) -> Path:
    """The files of the documents in a folder; the experiment in its short form."""
    text = "".join(
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("extending", "losses")
    )
    blocks = re.findall(r"^`(m\w+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", text, re.S | re.M)
    assert {name for name, _ in blocks} == {"mine.yaml", "my_heads.py", "my_terms.py", "my_experts.py"}
    for name, code in blocks:
        (folder / name).write_text(code.replace(*SHORT), encoding="utf-8")
    (folder / "my_networks.py").write_text(NETWORKS, encoding="utf-8")
    return folder


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_heads", "my_terms", "my_experts", "my_networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def run(folder: Path, *words: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    environment |= {"MLFLOW_TRACKING_URI": "", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    environment = {key: value for key, value in environment.items() if value}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_the_document_s_files_are_trained_registered_and_loaded(tmp_path: Path) -> None:
    theirs, work = tmp_path / "theirs", tmp_path / "work"
    theirs.mkdir()
    work.mkdir()
    shutil.copy(written(theirs) / "mine.yaml", work)
    done = run(work, "-m", "litemkd", "distill", "--config", "mine.yaml", "--device", "cpu", path=theirs)
    assert done.returncode == 0, done.stdout + done.stderr
    code = (
        "import torch\n"
        "from litemkd.stages.build import load_model\n"
        "from litemkd.tracking import download\n"
        "student = load_model(download('litemkd-toy-student', 2))\n"
        "print(type(student.head).__module__, student.head.scale)\n"
        "bundle = load_model(download('litemkd-toy-teacher', 1))\n"
        "clips = {name: torch.rand(2, 8, 3, 36, 36) for name in ('rgb', 'depth')}\n"
        "print(type(bundle.experts['depth'].backbone.model).__name__, tuple(bundle.features(clips).shape))\n"
    )
    loaded = run(work, "-c", code, path=theirs)
    assert loaded.stdout.splitlines()[-2:] == ["my_heads 5.0", "Slow (2, 8, 128)"], loaded.stderr
    again = run(work, "-c", code, path=work)  # where their files are not
    assert "my_heads" in again.stderr
    assert "description does not make a model: head.name: no module my_heads where Python" in again.stderr


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(Path("mine.yaml"), overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("student.head.settings.scale=-1", "settings.scale: -1 given; input should be greater than 0"),
        (
            "student.head.settings.scal=1",
            "settings.scal: no such key; did you mean `student.head.settings.scale`?",
        ),
        ("student.head.settings=3", "student.head.settings: 3 given; a mapping of settings would do"),
        ("student.head.name=trx", "trx comes with litemkd, and its settings stand beside its name"),
        ("student.head.name='my_heads:Near'", "no Near in my_heads; did you mean `Nearest`?"),
        (
            "student.head.name='my_terms:Margin'",
            "that is a Margin; a subclass of litemkd.models.heads.Head would",
        ),
        (
            "student.head.name='no_heads:Near'",
            "student.head.name: 'no_heads:Near' given; no module no_heads in",
        ),
        (
            "teacher.streams.depth.width=0",
            "teacher.streams.depth.width: 0 given; input should be greater than 0",
        ),
        ("teacher.streams.depth.widht=9", "no such key; did you mean `teacher.streams.depth.width`?"),
        ("teacher.streams.depth.use='my_heads:Nearest'", "subclass of litemkd.models.experts.Expert would do"),
        ("teacher.streams.depth=9", "a mapping with `use`, the expert as module:Class or by the name"),
        ("teacher.modalities=[rgb]", "teacher.streams.depth: given; depth among teacher.modalities, which are"),
        ("teacher.experts=features", "teacher.streams.depth: given beside teacher.experts = features; `train`"),
        ("student.backbone.name='my_networks:Smal'", "no Smal in my_networks; did you mean `Small`?"),
        (
            "student.backbone={weights: imagenet, name: 'my_networks:Small'}",
            "my_networks:Small has none, `none`",
        ),
    ],
)
def test_mistakes_are_told_with_their_key(mine: Path, given: str, told: str) -> None:
    (problem,) = problems(given)
    assert told in problem


def test_settings_are_a_part_of_the_experiment(mine: Path) -> None:
    config, usual = (
        load_config(Path("mine.yaml")),
        load_config(Path("mine.yaml"), ["student.head.settings.scale=1"]),
    )
    assert (config.student.head.settings, usual.student.head.settings) == ({"scale": 5.0}, {"scale": 1.0})
    assert digest_of(config.student) != digest_of(usual.student)
    assert Config.model_validate(config.model_dump(mode="json")) == config
    assert config.teacher.networks == "conv4+my_experts:Slow"
    assert "settings" not in Config().student.head.model_dump()
    assert "streams" not in str(Config().teacher)


def test_a_backbone_of_one_s_own(mine: Path) -> None:
    words = ["student.backbone={weights: none, name: 'my_networks:Small', settings: {width: 6, told: 6}}"]
    config = load_config(Path("mine.yaml"), words)
    student = build_student(config.student, 8, 0, side=36).eval()
    assert student.backbone.out_channels == 6
    folder = save_model(mine / "model", student, describe_student(config))
    frames = torch.rand(1, 8, 3, 36, 36)
    with torch.no_grad():
        assert torch.equal(load_model(folder).features(frames), student.features(frames))
    described = json.loads((folder / "model.json").read_text())
    described["student"]["backbone"]["name"] = "gone:Small"
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"backbone\.name: no module gone where Python looks"):
        load_model(folder)
    wrong = load_config(Path("mine.yaml"), [words[0].replace("told: 6", "told: 7")])
    with pytest.raises(ConfigError, match=r"its map has 6 channels; out_channels = 7 says otherwise"):
        build_student(wrong.student, 8, 0, side=36)


def test_what_a_class_says_against_its_settings_is_told(mine: Path) -> None:
    code = (mine / "my_experts.py").read_text().replace("self.width = width", "raise ValueError('an even one')")
    (mine / "my_experts.py").write_text(code)
    config = load_config(Path("mine.yaml"))
    with pytest.raises(ConfigError, match="my_experts:Slow cannot be made: ValueError: an even one"):
        build_expert(config.teacher, "depth", 8, 0)


def test_widths_that_are_the_same_add_nothing() -> None:
    torch.manual_seed(0)
    same = Fusion(["rgb", "depth"], 8, frames=2, feed_forward=4)
    torch.manual_seed(0)
    named = Fusion(["rgb", "depth"], {"rgb": 8, "depth": 8}, frames=2, feed_forward=4)
    torch.manual_seed(0)
    wide = Fusion(["rgb", "depth"], {"rgb": 8, "depth": 12}, frames=2, feed_forward=4)
    assert same.state_dict().keys() == named.state_dict().keys()
    extra = wide.state_dict().keys() - same.state_dict().keys()
    assert extra == {"align.depth.weight", "align.depth.bias"}
    assert all(torch.equal(value, wide.state_dict()[name]) for name, value in same.state_dict().items())
    assert wide({"rgb": torch.rand(3, 2, 8), "depth": torch.rand(3, 2, 12)}).shape == (3, 2, 8)


def test_heads_are_read_as_they_are() -> None:
    assert list(HEAD_SETTINGS) == list(HEADS)
    assert all(settings_of(HEADS[name]) == settings for name, settings in HEAD_SETTINGS.items())


def test_a_search_changes_settings_of_one_s_own(mine: Path) -> None:
    (mine / "space.yaml").write_text("student.head.settings.scale: {float: [1, 8]}\n")
    found = read_space(mine / "space.yaml")
    found.check(mine / "mine.yaml")
    assert found.default(load_config(Path("mine.yaml"))) == {"student.head.settings.scale": 5.0}
    (mine / "space.yaml").write_text("student.head.settings.scale: {float: [0, 8]}\n")
    with pytest.raises(ConfigError, match=r"scale: 0.0 is never possible: .* greater than 0"):
        read_space(mine / "space.yaml").check(mine / "mine.yaml")


def test_a_file_is_all_that_a_new_head_takes(mine: Path) -> None:
    shutil.copytree(ROOT / "litemkd", mine / "litemkd", ignore=shutil.ignore_patterns("__pycache__"))
    new = (mine / "my_heads.py").read_text().replace("scale", "sharp")
    new = new.replace("    def __init__(", '    name = "nearest"\n\n    def __init__(', 1)
    (mine / "litemkd" / "models" / "heads" / "nearest.py").write_text(new)
    code = (
        "import sys\n"
        "from litemkd.config import digest_of, load_config\n"
        "from litemkd.errors import ConfigError\n"
        "usual, config = load_config(None), load_config(None, ['student.head={name: nearest, sharp: 3}'])\n"
        "print(digest_of(usual.student), config.student.head.sharp, 'torch' in sys.modules)\n"
        "try:\n    load_config(None, ['student.head={name: neares, sharp: 0}'])\n"
        "except ConfigError as error:\n    print(*error.problems, sep='\\n')\n"
        "from litemkd.stages.build import build_head\n"
        "print(type(build_head(config.student.head, 4, 8)).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=mine,
        env={**os.environ, "PYTHONPATH": str(mine)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        f"{digest_of(Config().student)} 3.0 False",
        "student.head.name: 'neares' given; no such head; did you mean `nearest`?",
        "student.head.sharp: 0 given; input should be greater than 0",
        "Nearest",
    ], done.stderr
