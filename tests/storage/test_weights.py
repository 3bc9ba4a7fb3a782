"""Weights that others made: what they are called, and files that cannot or must not be loaded."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from litemkd.errors import CheckpointError, ConfigError
from litemkd.storage.weights import Weights, digest_of_files, weights_for

PUBLISHED = "Raft_Small_Weights.C_T_V2"


def build(weights=None) -> nn.Module:
    assert weights is None
    return nn.Linear(3, 2)


def given(choice: str | Path) -> Weights:
    return Weights("raft_small", str(choice), PUBLISHED)


def test_without_weights_one_message_tells_what_to_set():
    with pytest.raises(ConfigError) as caught:
        weights_for("raft_small", None, PUBLISHED)
    assert caught.value.problems == [
        "data.weights.raft_small: not given, and raft_small needs weights; `download` (fetches "
        "Raft_Small_Weights.C_T_V2 once), the path of a copy, or `random` (to check that everything runs, "
        "not for results) would do"
    ]


def test_a_file_is_loaded_and_named_by_its_content(tmp_path):
    source = build()
    torch.save(source.state_dict(), tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    loaded = given(tmp_path / "a.pth").into(build)
    assert torch.equal(loaded.weight, source.weight)
    assert not loaded.training
    assert given(tmp_path / "a.pth").identity() == given(tmp_path / "b.pth").identity()
    torch.save(build().state_dict(), tmp_path / "b.pth")
    assert given(tmp_path / "a.pth").identity() != given(tmp_path / "b.pth").identity()


def test_the_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    # sha256 of "abc", from its standard
    assert digest_of_files([tmp_path / "a", tmp_path / "b"]) == "ba7816bf8f01cfea"


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = given("random").into(build), given("random").into(build)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert given("random").identity() == "random, for checks only"
    assert given("download").identity() == PUBLISHED


def test_files_that_are_no_weights_of_this_network_are_told(tmp_path):
    gone = tmp_path / "gone.pth"
    told = r"data\.weights\.raft_small: .*gone\.pth: no such file; .*`download`"
    with pytest.raises(CheckpointError, match=told):
        given(gone).identity()
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such file; give the path of a torchvision state"):
        given(gone).into(build)
    torch.save(nn.Linear(4, 4).state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: not a torchvision state dict of this network"):
        given(tmp_path / "other.pth").into(build)
    torch.save(build().state_dict(), tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-200])
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    for name in ("half.pth", "text.pth", "empty.pth"):
        with pytest.raises(CheckpointError, match=f"{name}: not a torchvision state dict") as caught:
            given(tmp_path / name).into(build)
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)


class Attack:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_refused_not_run(tmp_path):
    trace = tmp_path / "it_ran"
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"weight": Attack(trace)}, protocol=2))
    torch.save({"weight": Attack(trace)}, tmp_path / "zip.pth")
    for name in ("plain.pth", "zip.pth"):
        with pytest.raises(CheckpointError) as caught:
            given(tmp_path / name).into(build)
        assert "it cannot be read as tensors alone: damaged, or with code in it, which is never run" in str(
            caught.value
        )
        assert not trace.exists()
    torch.load(tmp_path / "zip.pth", weights_only=False)  # it would have run
    assert trace.is_dir()
