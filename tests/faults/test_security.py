"""What strangers may give: files that want to run code, that lie about their size or name other places."""

from __future__ import annotations

import ast
import io
import json
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from litemkd.config import load_config
from litemkd.data.finding.zips import unpack_frames
from litemkd.errors import CheckpointError, ConfigError, DataError
from litemkd.modalities.depth import read_depth_map
from litemkd.modalities.skeleton import joint_frames
from litemkd.stages.build import build_student, describe_student, load_model
from litemkd.stages.import_weights import read_file
from litemkd.stages.prepare import prepare
from litemkd.storage.arrays import read_array
from litemkd.storage.checkpoints import load_state, read_tensors, save_model
from litemkd.storage.weights import load_state_file
from tests.faults.trees import config_of, frames_tree
from tests.job import ROOT, SMOKE

PACKAGES = ("litemkd", "tuning", "benchmarks")


def sources() -> list[tuple[str, ast.AST]]:
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))) for path in files]


def unsafe(name: str, node: ast.AST) -> str | None:
    """Why a piece of code may not stand in the packages, or None."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        names = {one.name for one in node.names}
        for module in modules:
            harmless = module == "pickle" and isinstance(node, ast.ImportFrom) and names == {"UnpicklingError"}
            if module.partition(".")[0] in (
                "pickle",
                "cPickle",
                "dill",
                "joblib",
                "shelve",
                "marshal",
                "tarfile",
            ):
                return None if harmless else f"imports {module}"
    if isinstance(node, ast.Assert):
        # For the type checker alone. What comes from outside is checked by errors, which -O leaves in.
        by_type = isinstance(node.test, ast.Call) and ast.unparse(node.test.func) == "isinstance"
        not_none = isinstance(node.test, ast.Compare) and isinstance(node.test.ops[0], ast.IsNot)
        return None if by_type or not_none else f"asserts {ast.unparse(node.test)}"
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    given = {one.arg: ast.unparse(one.value) for one in node.keywords}
    wanted = {
        "torch.load": ("weights_only", "True"),
        "np.load": ("allow_pickle", "False"),
        "numpy.load": ("allow_pickle", "False"),
        "np.save": ("allow_pickle", "False"),
        "np.lib.format.read_array": ("allow_pickle", "False"),
    }
    if called in wanted:
        key, value = wanted[called]
        return None if given.get(key) == value else f"{called} without {key}={value}"
    if called in ("yaml.load", "yaml.load_all"):
        loader = given.get("Loader") or (ast.unparse(node.args[1]) if len(node.args) > 1 else "")
        return (
            None
            if (name, loader) == ("litemkd/config/strict_yaml.py", "_Loader")
            else f"{called} of {loader or 'any'} loader"
        )
    forbidden = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load")
    if called in (*forbidden, "yaml.full_load", "torch.jit.load", "torch.hub.load", "tempfile.mktemp"):
        return f"calls {called}"
    if given.get("shell", "False") != "False" or called.endswith((".extractall", ".extract")):
        return f"{called} with {given}"
    return None


def test_the_packages_hold_no_unsafe_call() -> None:
    found = [
        f"{name}:{getattr(node, 'lineno', 0)} {why}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if (why := unsafe(name, node))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import tarfile",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "archive.extractall(folder)",
        "assert len(given) == 3",
    ],
)
def test_unsafe_calls_are_seen(code: str) -> None:
    assert [why for node in ast.walk(ast.parse(code)) if (why := unsafe("litemkd/x.py", node))]


def test_the_strict_loader_is_a_safe_one() -> None:
    from litemkd.config.strict_yaml import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.system ['true']", Loader=_Loader)


class Burglar:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def _pickled(path: Path, burglar: Burglar) -> None:
    path.write_bytes(pickle.dumps({"iteration": 1, "model_state_dict": burglar, "model": burglar}))


def _torch(path: Path, burglar: Burglar) -> None:
    torch.save({"iteration": 1, "model_state_dict": burglar, "model": burglar}, path)


def _array(path: Path, burglar: Burglar) -> None:
    np.save(path.with_suffix(".npy"), np.array([burglar], object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)


def _yaml(path: Path, burglar: Burglar) -> None:
    path.write_text(
        f"seed: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{burglar.mark}]]"
    )


READERS: dict[str, Callable[[Path], object]] = {
    "a checkpoint": load_state,
    "a released file": lambda path: read_file(path, "student"),
    "weights of a network": lambda path: load_state_file(torch.nn.Linear(1, 1), path, "key", "weights", "none"),
    "a model": read_tensors,
    "features": read_array,
    "joints": lambda path: joint_frames(path, None, 8, 32),
    "a depth map": read_depth_map,
    "a configuration": lambda path: load_config(path),
}


@pytest.mark.parametrize("write", [_pickled, _torch, _array, _yaml])
@pytest.mark.parametrize("reader", READERS)
def test_no_file_runs_code(reader: str, write: Callable[[Path, Burglar], None], tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    path = tmp_path / ("file.npy" if reader == "a depth map" else "file")
    write(path, Burglar(mark))
    with pytest.raises((CheckpointError, DataError, ConfigError)) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    assert not mark.exists()
    if write is _pickled:  # it would have, read in the usual way
        pickle.loads(path.read_bytes())
        assert mark.exists()


def entry(name: str, data: bytes = b"x", mode: int = 0o100644) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, data


ZIPS: dict[str, tuple[tuple[zipfile.ZipInfo, bytes], str]] = {
    "above": (entry("a/../../../etc/v/1.jpg"), "goes out of the folder"),
    "absolute": (entry("/etc/c/v/1.jpg"), "is an absolute path"),
    "backslashes": (entry("c\\..\\..\\v/1.jpg"), "goes out of the folder"),
    "a backslash": (entry("c\\d/v/1.jpg"), "has a backslash"),
    "a drive": (entry("C:/c/v/1.jpg"), "is an absolute path"),
    "a place on a drive": (entry("C:c/v/1.jpg"), "is an absolute path"),
    "a server": (entry("\\\\server\\share\\c/v/1.jpg"), "is an absolute path"),
    "a link": (entry("c/v/1.jpg", b"/etc/passwd", 0o120777), "is a link"),
    "a device": (entry("c/v/1.jpg", b"", 0o020666), "is a link or another special file"),
    "a huge entry": (entry("c/v/1.jpg", bytes(65 << 20)), "no frame is larger than"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_leaves_nothing_anywhere(kind: str, tmp_path: Path) -> None:
    (info, data), said = ZIPS[kind]
    archive = tmp_path / "rgb_l8.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("c/v/0.jpg", b"first")
        info.compress_type = zipfile.ZIP_DEFLATED
        opened.writestr(info, data)
    with pytest.raises(DataError, match="nothing was unpacked") as caught:
        unpack_frames(archive, tmp_path / "data" / "mine", "rgb", 8)
    assert said in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [archive]


def test_a_zip_bomb_of_many_entries_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "rgb_l8.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        for number in range(20):
            opened.writestr(f"c/v{number}/1.jpg", bytes(1 << 20))
    with pytest.raises(
        DataError, match=r"unpacks to \d+ times its size, which pictures do not: nothing was unpacked"
    ):
        unpack_frames(archive, tmp_path, "rgb", 8)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student as it is saved."""
    config = load_config(SMOKE, ["student.backbone.name=conv4", "student.width=16", "student.head.width=16"])
    folder = tmp_path_factory.mktemp("model")
    return save_model(folder, build_student(config.student, 8, 0), describe_student(config))


LIES: dict[str, tuple[Callable[[dict], object], str]] = {
    "a width of 10^9": (
        lambda d: d["student"].update(width=10**9),
        "another architecture|description does not make",
    ),
    "a width of 10^30": (lambda d: d["student"].update(width=10**30), "description does not make"),
    "a head of 10^8": (lambda d: d["student"]["head"].update(width=10**8), "another architecture"),
    "many frames": (lambda d: d.update(frames=10**9), "frames: 1000000000 given; 1 to 1024 would do"),
    "no number of frames": (lambda d: d.update(frames=[8]), r"frames: \[8\] given"),
    "all tuples": (lambda d: d.update(frames=64) or d["student"]["head"].update(tuples=[32]), "are more than"),
    "a backbone of its own": (lambda d: d["student"]["backbone"].update(name="../../x"), "no such backbone"),
    "a kind of its own": (lambda d: d.update(kind="__main__"), "a '__main__' model of format 1"),
    "no student": (lambda d: d.pop("student"), "description does not make a model"),
    "a list": (lambda d: d.update(student=[]), "description does not make a model"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_lies_takes_no_memory(lie: str, model: Path, tmp_path: Path) -> None:
    told = json.loads((model / "model.json").read_text())
    change, said = LIES[lie]
    change(told)
    (tmp_path / "model.json").write_text(json.dumps(told))
    (tmp_path / "weights.safetensors").symlink_to(model / "weights.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KB


def test_what_a_description_names_is_not_opened(model: Path, tmp_path: Path) -> None:
    """Weights of a backbone are a path in the configuration; in a stranger's description it is left alone."""
    told = json.loads((model / "model.json").read_text())
    told["student"]["backbone"]["weights"] = "/etc/passwd"
    (tmp_path / "model.json").write_text(json.dumps(told))
    (tmp_path / "weights.safetensors").symlink_to(model / "weights.safetensors")
    one, two = load_model(tmp_path), load_model(model)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])


def test_headers_that_lie_about_their_size(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "a.safetensors"
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [10**9, 10**3], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    for content in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 2**63), b"\xff" * 16):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or not safetensors"):
            read_tensors(path)
    array = tmp_path / "a.npy"
    for shape in ((10**12,), (10**9, 10**9), (2**62, 4), (-1, 8), (8, -4)):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        array.write_bytes(buffer.getvalue() + bytes(128))
        with pytest.raises(DataError, match="not readable as a NumPy array"):
            read_array(array)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KB


def test_names_are_no_part_of_a_page(tmp_path: Path) -> None:
    frames_tree(tmp_path)
    evil = "<img src=x onerror=alert(1)>"
    for folder in ("rgb_l8", "splits/mine"):
        for path in (tmp_path / "mine" / folder).iterdir():
            if path.suffix == ".txt":
                path.write_text(path.read_text().replace("class0/", f"{evil}/"))
            elif path.name == "class0":
                path.rename(path.with_name(evil))
    prepare(config_of(tmp_path))
    page = (tmp_path / "mine" / "data_card.md").read_text()
    assert "<" not in page
    assert "&lt;img src=x" in page


def test_a_configuration_that_grows_when_it_is_written_out(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    path.write_text("\n".join([*lines, "seed: *a29", "data: {frames: *a28}"]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(str(caught.value)) < 100_000
    for text in ("seed: " + "[" * 5000, "a: &a {b: *a}", "seed: 2001-99-99", "data: &d {toy: *d}"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_config(path)
        below = tmp_path / "above.yaml"
        below.write_text(f"base: bomb.yaml\n{text}")
        with pytest.raises(ConfigError):
            load_config(below)
