"""Files changed at random, a fixed number of them: they are read, or refused by an error of the project."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from litemkd.config import load_config
from litemkd.data.features import read_features
from litemkd.data.frames import frame_size, read_frame
from litemkd.data.splits import SPLITS, read_splits
from litemkd.errors import CheckpointError, ConfigError, DataError, LitemkdError
from litemkd.stages.build import build_student, describe_student, load_model
from litemkd.stages.import_weights import read_file
from litemkd.storage.checkpoints import save_model
from tests.job import ROOT, SMOKE
from tests.released import TrxFile, seeded, write_file

EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))


def budget(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, the same ones each time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def changes(most: int = 6) -> st.SearchStrategy[list[tuple[str, float, bytes]]]:
    """What happens to a file: bytes written over, put in, or cut off, at shares of its length."""
    what = st.sampled_from(["over", "in", "cut", "out"])
    place = st.floats(0, 1, allow_nan=False)
    return st.lists(st.tuples(what, place, st.binary(min_size=1, max_size=8)), min_size=1, max_size=most)


def changed(content: bytes, how: list[tuple[str, float, bytes]], within: float = 1.0) -> bytes:
    """The content after these changes, in its first part `within`."""
    for what, share, data in how:
        place = int(share * within * len(content))
        if what == "over":
            content = content[:place] + data + content[place + len(data) :]
        elif what == "in":
            content = content[:place] + data + content[place:]
        elif what == "out":
            content = content[:place] + content[place + len(data) :]
        else:
            content = content[: max(place, 1)]
    return content


def survives(read: Callable[[], object], *errors: type[LitemkdError]) -> None:
    """It is read, or refused in the project's words; nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what they then refuse
        with contextlib.suppress(*errors):
            read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@budget(150)
@given(which=st.integers(0, len(EXPERIMENTS) - 1), how=changes())
def test_experiment_files(folder: Path, which: int, how: list[tuple[str, float, bytes]]) -> None:
    source = EXPERIMENTS[which]
    file = folder / "experiment.yaml"
    text = source.read_bytes().replace(b"base: ", f"base: {source.parent}/".encode())
    file.write_bytes(changed(text, how))
    survives(lambda: load_config(file), ConfigError)


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_KEYS = st.sampled_from(
    ["data", "student", "loss", "train", "head", "seed", "width", "frames", "base", "preset"]
)
_TREES = st.recursive(
    _PLAIN,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_KEYS | _PLAIN, below, max_size=4),
    max_leaves=12,
)


@budget(150)
@given(tree=st.dictionaries(_KEYS, _TREES, max_size=5), overrides=st.lists(st.text(max_size=30), max_size=3))
def test_experiments_of_other_things(folder: Path, tree: dict[str, object], overrides: list[str]) -> None:
    import yaml

    file = folder / "tree.yaml"
    file.write_text(yaml.dump(tree, allow_unicode=True), encoding="utf-8")
    survives(lambda: load_config(file, overrides), ConfigError)


@budget(100)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_experiments_of_any_bytes(folder: Path, content: bytes) -> None:
    file = folder / "bytes.yaml"
    file.write_bytes(content)
    survives(lambda: load_config(file, [content.decode(errors="replace")]), ConfigError)


_NAMES = st.text("ab/\\.:\r\n\t \u2028\0é", max_size=12)


@budget(200)
@given(
    lists=st.lists(st.lists(_NAMES, max_size=6), min_size=3, max_size=3), mark=st.sampled_from(["", "\ufeff"])
)
def test_lists(folder: Path, lists: list[list[str]], mark: str) -> None:
    for name, lines in zip(SPLITS, lists, strict=True):
        (folder / f"{name}list03.txt").write_bytes((mark + "\n".join(lines)).encode())

    def read() -> None:
        splits = read_splits(folder)
        for split in splits.values():
            for video, label in zip(split.videos, split.labels, strict=True):
                one, _, clip = video.partition("/")
                assert split.classes[label] == one
                assert clip
                assert ".." not in (one, clip)
        assert len({one for split in splits.values() for one in split.classes}) == sum(
            len(split.classes) for split in splits.values()
        )

    survives(read, DataError)


@budget(100)
@given(content=st.binary(max_size=80))
def test_lists_of_any_bytes(folder: Path, content: bytes) -> None:
    for name in SPLITS:
        (folder / f"{name}list03.txt").write_bytes(content)
    survives(lambda: read_splits(folder), DataError)


@functools.cache
def _array() -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, np.ones((8, 4), np.float32), allow_pickle=False)
        file.seek(0)
        return file.read()


@budget(300)
@given(how=changes(), within=st.sampled_from([0.2, 0.5, 1.0]))
def test_features(folder: Path, how: list[tuple[str, float, bytes]], within: float) -> None:
    file = folder / "rgb" / "c" / "v" / "features.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(changed(_array(), how, within))

    def read() -> None:
        found = read_features(folder / "rgb", ["c/v"], 8)
        assert found.shape[:2] == (1, 8)
        assert np.isfinite(found).all()

    survives(read, DataError)


@functools.cache
def _pictures() -> tuple[bytes, ...]:
    made = []
    for kind in ("JPEG", "PNG"):
        with tempfile.TemporaryFile() as file:
            rng = np.random.default_rng(0)
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(file, kind)
            file.seek(0)
            made.append(file.read())
    return tuple(made)


@budget(200)
@given(which=st.integers(0, 1), how=changes(3), within=st.sampled_from([0.1, 1.0]))
def test_frames(folder: Path, which: int, how: list[tuple[str, float, bytes]], within: float) -> None:
    file = folder / "1.jpg"
    file.write_bytes(changed(_pictures()[which], how, within))
    survives(lambda: read_frame(file), DataError)
    survives(lambda: frame_size(file), DataError)


@pytest.fixture(scope="module")
def released(folder: Path) -> bytes:
    return write_file(folder / "trx.pt", seeded(TrxFile("resnet18", 512, (2,)))).read_bytes()


@budget(60)
@given(how=changes(4), within=st.sampled_from([0.0005, 0.01, 1.0]))
def test_released_files(
    folder: Path, released: bytes, how: list[tuple[str, float, bytes]], within: float
) -> None:
    file = folder / "changed.pt"
    file.write_bytes(changed(released, how, within))
    survives(lambda: read_file(file, "student"), CheckpointError)


@budget(100)
@given(content=st.binary(max_size=200))
def test_released_files_of_any_bytes(folder: Path, content: bytes) -> None:
    file = folder / "any.pt"
    for start in (b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00("):
        file.write_bytes(start + content)
        survives(lambda: read_file(file, "student"), CheckpointError)


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    config = load_config(SMOKE, ["student.backbone.name=conv4", "student.width=16", "student.head.width=16"])
    return save_model(folder / "model", build_student(config.student, 8, 0), describe_student(config))


@budget(100)
@given(how=changes(4), within=st.sampled_from([0.01, 0.1, 1.0]), which=st.sampled_from(["weights", "model"]))
def test_saved_models(
    folder: Path, model: Path, how: list[tuple[str, float, bytes]], within: float, which: str
) -> None:
    other = folder / "other"
    shutil.copytree(model, other, dirs_exist_ok=True)
    file = other / ("weights.safetensors" if which == "weights" else "model.json")
    file.write_bytes(changed(file.read_bytes(), how, within if which == "weights" else 1.0))
    survives(lambda: load_model(other), CheckpointError)


_JSON = st.recursive(
    _PLAIN, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below)
)


@budget(100)
@given(values=st.dictionaries(st.sampled_from(["student", "frames", "kind", "crop"]), _JSON), deep=_JSON)
def test_descriptions_of_other_things(
    folder: Path, model: Path, values: dict[str, object], deep: object
) -> None:
    other = folder / "described"
    shutil.copytree(model, other, dirs_exist_ok=True)
    told = json.loads((model / "model.json").read_text())
    for key in told["student"]:
        for part in (told | values, told | {"student": told["student"] | {key: deep}}):
            (other / "model.json").write_text(json.dumps(part))
            survives(lambda: load_model(other), CheckpointError)
        break
