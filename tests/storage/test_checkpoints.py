"""Checkpoints: whole or not at all, loaded without running code, checked against the model."""

import json
import pickle

import pytest
import torch
from torch import nn

from litemkd.errors import CheckpointError
from litemkd.storage import checkpoints
from litemkd.storage.checkpoints import (
    DESCRIPTION,
    WEIGHTS,
    load_state,
    load_weights,
    read_description,
    read_weights,
    save_model,
    save_state,
    weights_digest,
)
from litemkd.storage.files import write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Marker:
    """Unpickling it runs code."""

    hit = False

    def __reduce__(self):
        return (setattr, (Marker, "hit", True))


def test_state_comes_back_as_it_was(tmp_path):
    state = {
        "step": 3,
        "best": -float("inf"),
        "none": None,
        "list": [{"a": 1.5}],
        "w": torch.arange(6.0).view(2, 3),
    }
    path = tmp_path / "deep" / "er" / "last.pt"
    save_state(path, state)
    back = load_state(path)
    assert torch.equal(back.pop("w"), state.pop("w"))
    assert back == state
    assert names(path.parent) == ["last.pt"]


def test_saving_again_replaces(tmp_path):
    for step in (1, 2):
        save_state(tmp_path / "last.pt", {"step": step})
    assert load_state(tmp_path / "last.pt") == {"step": 2}
    assert names(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_and_no_rest(tmp_path, error):
    path = tmp_path / "last.pt"
    save_state(path, {"step": 1})

    def half(beside):
        beside.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, half)
    assert names(tmp_path) == ["last.pt"]
    assert load_state(path) == {"step": 1}


def test_a_failing_torch_save_leaves_no_rest(tmp_path, monkeypatch):
    def half(state, beside):
        beside.write_bytes(b"half")
        raise RuntimeError("no space left")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(RuntimeError, match="no space"):
        save_state(tmp_path / "last.pt", {"step": 1})
    assert names(tmp_path) == []


def test_a_failing_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(self, target):
        raise PermissionError("no")

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(PermissionError):
        write_whole(path, lambda beside: beside.write_text("new"))
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_missing_state_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.pt: no such checkpoint"):
        load_state(tmp_path / "nothing.pt")


@pytest.mark.parametrize("keep", [0, 1, 100, -20])
def test_damaged_state_is_named(tmp_path, keep):
    path = tmp_path / "last.pt"
    save_state(path, {"w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged or not a checkpoint"):
        load_state(path)


def test_other_content_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list, not a checkpoint"):
        load_state(path)


@pytest.mark.parametrize("plain", [True, False])
def test_loading_runs_no_code(tmp_path, plain):
    path = tmp_path / "last.pt"
    if plain:
        path.write_bytes(pickle.dumps({"model": Marker()}))
    else:
        torch.save({"model": Marker()}, path)
    Marker.hit = False
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_state(path)
    assert not Marker.hit
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert Marker.hit  # the file would have run code, had it been unpickled


def model(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2))


def test_model_round_trip_with_description(tmp_path):
    torch.manual_seed(0)
    one = model().to(memory_format=torch.channels_last)
    one[1].running_mean.normal_()
    assert save_model(tmp_path / "m", one, {"kind": "student", "frames": 8}) == tmp_path / "m"
    assert names(tmp_path / "m") == sorted([DESCRIPTION, WEIGHTS])
    assert read_description(tmp_path / "m") == {"kind": "student", "frames": 8}
    two = model()
    load_weights(two, read_weights(tmp_path / "m"), tmp_path)
    for name, tensor in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], tensor), name


def test_another_architecture_is_counted_and_named(tmp_path):
    save_model(tmp_path, nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), {})
    other = nn.ModuleDict({"0": nn.Linear(3, 4), "extra": nn.Linear(1, 1)})
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(other, read_weights(tmp_path), "some/file")
    message = str(caught.value)
    assert message.startswith("some/file: weights of another architecture")
    assert "2 missing (first: extra.weight)" in message
    assert "2 unknown (first: 1.bias)" in message or "2 unknown (first: 1.weight)" in message
    assert "2 of another shape (first: 0.weight is (2, 3), the model's (4, 3))" in message
    for name, tensor in other.state_dict().items():  # nothing was loaded
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("read", [read_description, read_weights])
def test_a_folder_without_a_model_is_named(tmp_path, read):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="a folder of a saved model would do"):
            read(folder)


@pytest.mark.parametrize("read", [read_description, read_weights])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, read):
    path = tmp_path / "model.pt"
    path.write_text("x")
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        read(path)


def test_damaged_weights_and_description(tmp_path):
    save_model(tmp_path, model(), {})
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:50])
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: damaged"):
        read_weights(tmp_path)
    (tmp_path / DESCRIPTION).write_text('{"half": ')
    with pytest.raises(CheckpointError, match=rf"{DESCRIPTION}: not readable as JSON"):
        read_description(tmp_path)
    (tmp_path / DESCRIPTION).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        read_description(tmp_path)
    (tmp_path / DESCRIPTION).write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match="holds a list"):
        read_description(tmp_path)


def test_the_digest_of_weights_tells_models_apart():
    torch.manual_seed(0)
    one, other = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    assert weights_digest(one) == weights_digest(other)
    other.running_mean[1] = 0.5  # buffers count: they change what a model computes
    assert weights_digest(one) != weights_digest(other)
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(other)
