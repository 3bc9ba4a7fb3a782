"""`prepare --derive`: modalities that no teacher asks for, and the commands of docs/modalities.md.

What those download is random here: there may be no network, and nobody looks at what comes out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.recordings import numbered_frames, write_video
from tests.helpers import usual_first
from tests.job import ROOT, Home

T, N = 2, 6
NAMES = [f"class{c}/v{v}" for c in range(6) for v in range(2)]
DOCUMENT = (ROOT / "docs" / "modalities.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for line in "".join(BLOCKS).splitlines() if line.startswith("litemkd prepare ")]
EXPERIMENT = """
data: {dataset: mine, source: SOURCE, frames: 2, short_side: 32, crop: 32}
episode: {way: 2, shot: 1, queries: 1}
evaluation: {shots: [1]}
loss: {support: 0}
teacher: {modalities: [rgb]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Twelve clips with all that other programs could have written of them, and experiments/mine.yaml."""
    folder = tmp_path_factory.mktemp("home")
    source = folder / "source"
    for name in NAMES:
        write_video(source / "videos" / f"{name}.mp4", numbered_frames(N))
        for part in ("flow_flo", "depth_maps"):
            (source / part / name).mkdir(parents=True)
        for part in ("alphapose", "skeleton_joints"):
            (source / part / name).parent.mkdir(parents=True, exist_ok=True)
        for i in range(N):
            content = b"PIEH" + struct.pack("<ii", 64, 48) + struct.pack("<ff", 1.0, 0.0) * (64 * 48)
            (source / "flow_flo" / name / f"{i}.flo").write_bytes(content)
            depths = np.arange(1000, 1000 + 48 * 64, dtype=np.uint16).reshape(48, 64)
            Image.fromarray(depths).save(source / "depth_maps" / name / f"{i}.png")
        keypoints = np.random.default_rng(0).uniform(5, 45, (17, 3)).ravel().tolist()
        person = {"image_id": "0.jpg", "category_id": 1, "keypoints": keypoints, "score": 1.0}
        (source / "alphapose" / f"{name}.json").write_text(json.dumps([person]))
        np.save(source / "skeleton_joints" / f"{name}.npy", np.random.default_rng(0).uniform(1, 2, (N, 20, 4)))
    lists = source / "splits" / "mine"
    lists.mkdir(parents=True)
    for i, split in enumerate(("train", "val", "test")):
        (lists / f"{split}list03.txt").write_text("\n".join(NAMES[4 * i : 4 * i + 4]) + "\n")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "mine.yaml").write_text(EXPERIMENT.replace("SOURCE", str(source)))
    return Home(folder)


def run(home: Home, line: str, root: str):
    words = shlex.split(line.replace("=download", "=random"))
    assert words[:4] == ["litemkd", "prepare", "--config", "experiments/mine.yaml"]
    return home.run("prepare", *words[4:], "--data-root", root, config=Path(words[3]))


def test_every_section_has_a_command() -> None:
    assert len(COMMANDS) == 7
    for method in ("flow=raft", "flow=flownet2", "--derive depth ", "depth=adabins", "skeleton=alphapose"):
        assert any(method in line for line in COMMANDS), method


@pytest.mark.parametrize("line", usual_first([one for one in COMMANDS if "keypoint_rcnn" not in one], COMMANDS))
def test_the_documents_commands_work(home: Home, line: str) -> None:
    root = f"data{COMMANDS.index(line)}"
    result = run(home, line, root)
    assert result.exit_code == 0, result.output
    words = re.search(r"--derive (\S+)", line)
    assert words is not None
    for modality in (word.partition("=")[0] for word in words[1].split(",")):
        assert re.search(rf"^{modality}: .*: 12 made, 0 kept, 0 left out$", result.output, re.MULTILINE)
        folder = home.folder / root / "mine" / f"{modality}_l{T}"
        assert len(list(folder.glob("*/*/*.jpg"))) == len(NAMES) * T
        note = json.loads((folder / "prepare.json").read_text())
        assert (note.get("weights") == "random, for checks only") == ("=download" in line)
    assert "modalities rgb, " in result.output


def test_the_sheet_is_a_file_and_in_the_run(home: Home) -> None:
    result = run(home, f"{COMMANDS[0]} --set seed=7", "data0")  # as the first command, and after it
    assert result.exit_code == 0, result.output
    assert "contact sheet: sheet.png" in result.output
    newest = home.runs(dataset="mine")[-1]
    logged = home.artifact(newest, "contact_sheet.png").read_bytes()
    assert logged == (home.folder / "sheet.png").read_bytes()
    with Image.open(home.folder / "sheet.png") as sheet:
        colours = np.asarray(sheet)
    assert colours.shape[0] > 3 * 3 * 96  # three clips, each in rgb, flow and skeleton
    card = json.loads(home.artifact(newest, "data_card.json").read_text())
    assert {name: m["method"] for name, m in card["modalities"].items()} == {
        "rgb": "video",
        "flow": "dis",
        "skeleton": "joints",
    }


def test_what_is_made_beside_does_not_change_what_training_sees(home: Home) -> None:
    plain = run(home, "litemkd prepare --config experiments/mine.yaml", "plain")
    more = run(home, "litemkd prepare --config experiments/mine.yaml --derive flow", "plain")
    digests = [re.search(r"modalities .*; (\w+)$", out.output.strip()) for out in (plain, more)]
    assert all(digests)
    assert digests[0][1] == digests[1][1]  # type: ignore[index]


def test_missing_weights_are_told_before_anything_is_made(home: Home) -> None:
    result = run(home, "litemkd prepare --config experiments/mine.yaml --derive depth,skeleton", "none")
    assert result.exit_code == 1
    assert (
        "data.weights.depth_anything: not given, and depth_anything needs weights; `download`" in result.output
    )
    assert "Traceback" not in result.output
    gone = "--set data.weights.raft=gone.pth"
    result = run(home, f"litemkd prepare --config experiments/mine.yaml --derive flow=raft {gone}", "none")
    assert result.exit_code == 1
    assert "data.weights.raft: gone.pth: no such file; the path of a torchvision state dict" in result.output
    assert not list((home.folder / "none").rglob("*.jpg"))


def test_a_mistake_in_the_words_is_told(home: Home) -> None:
    result = run(home, "litemkd prepare --config experiments/mine.yaml --derive flow=fast", "none")
    assert result.exit_code == 1
    assert (
        "--derive flow=fast: flow is not made by 'fast'; dis, raft, raft_small, flownet2 would do"
        in result.output
    )


def test_a_bad_clip_is_left_out_of_its_modality_and_told(home: Home, tmp_path: Path) -> None:
    source = home.folder / "source"
    bad = source / "flow_flo" / NAMES[3] / "0.flo"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-4])
    line = "litemkd prepare --config experiments/mine.yaml --derive flow=flownet2"
    try:
        stopped = run(home, line, str(tmp_path))
        skipped = run(home, f"{line} --set data.on_bad_clip=skip", str(tmp_path))
    finally:
        bad.write_bytes(whole)
    assert stopped.exit_code == 1
    told = f"  {NAMES[3]}: {bad} has {len(whole) - 4} bytes; flow of 64x48 pixels has {len(whole)}"
    assert told in stopped.output.splitlines()
    assert skipped.exit_code == 0, skipped.output
    assert "flow: flownet2: 0 made, 11 kept, 1 left out" in skipped.output
    assert told in skipped.output.splitlines()
    assert "videos train 4, val 4, test 4" in skipped.output  # the teacher does not look at flow


CLIPS = Path(os.environ.get("LITEMKD_TEST_DATA") or "/nonexistent") / "clips"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not CLIPS.is_dir(), reason="LITEMKD_TEST_DATA names no folder with clips/")
def test_real_clips_of_many_sizes(tmp_path: Path) -> None:
    home, source = Home(tmp_path), tmp_path / "source"
    clips = sorted(CLIPS.iterdir())
    names = []
    shortest = min(clips, key=lambda clip: clip.stat().st_size)
    for k in range(12):
        clip = clips[k] if k < len(clips) else shortest
        link = source / "videos" / f"class{k // 2}" / f"v{k % 2}{clip.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(clip)
        names.append(f"class{k // 2}/v{k % 2}")
    (source / "splits" / "mine").mkdir(parents=True)
    for i, split in enumerate(("train", "val", "test")):
        (source / "splits" / "mine" / f"{split}list03.txt").write_text("\n".join(names[4 * i : 4 * i + 4]))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text(EXPERIMENT.replace("SOURCE", str(source)))
    networks = ("raft_small", "depth_anything", "keypoint_rcnn")
    weights = " ".join(f"--set data.weights.{name}=random" for name in networks)
    line = f"litemkd prepare --config experiments/mine.yaml --derive flow=raft_small,depth,skeleton {weights}"
    result = run(home, line, "made")
    assert result.exit_code == 0, result.output
    for modality in ("flow", "depth", "skeleton"):
        for name in names:
            sizes = []
            for folder in ("rgb", modality):
                with Image.open(tmp_path / "made/mine" / f"{folder}_l{T}" / name / "1.jpg") as image:
                    sizes.append(image.size)
            assert abs(sizes[0][0] - sizes[1][0]) <= 1, (name, sizes)
            assert abs(sizes[0][1] - sizes[1][1]) <= 1, (name, sizes)
