"""Two real processes against one: weights, metrics, features and evaluations are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from litemkd.runtime.distributed import Group
from tests.two_processes import SETTINGS, looked_at, trained

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `tests/two_processes.py` found in each of two processes under torchrun."""
    folder = tmp_path_factory.mktemp("two")
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    words += ["--rdzv-endpoint", "localhost:0", "-m", "tests.two_processes", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_shares_are_contiguous_and_cover_all() -> None:
    for size in (1, 2, 3, 7):
        for count in (0, 1, 5, 100):
            parts = [Group(rank, size).share(count) for rank in range(size)]
            assert [i for part in parts for i in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_processes_tell_one_another(two: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(one["messages"] for one in two):
        assert found["sums"] == {"both": 2.0, "only 0": 2.0, "only 1": 2.0}
        assert found["gathered"] == ["from 0", "from 1"]
        assert (found["sent"], found["main"]) == ("from 0", "by 0")
        assert found["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]
        assert found["share"] == [[0, 1], [2, 3, 4]][rank]
        assert found["mean"].tolist() == [2.0, 2.0]  # 3 batches of mean 1 and one of mean 5
        gradients = found["gradients"]
        assert gradients[2].tolist() == [[3.0, 3.0]]
        assert [one is None for one in gradients] == [True, True, False, True, True, True]


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_train_as_one(two: list[dict[str, Any]], tmp_path: Path, name: str) -> None:
    alone = trained(tmp_path, name)
    for found in (one[name] for one in two):
        assert found["weights"].keys() == alone["weights"].keys()
        for key, weight in alone["weights"].items():
            torch.testing.assert_close(found["weights"][key], weight, rtol=1e-7, atol=1e-9)
        assert [step for step, _ in found["told"]] == [step for step, _ in alone["told"]]
        for (_, one), (_, other) in zip(found["told"], alone["told"], strict=True):
            assert one == pytest.approx(other, rel=1e-5)


def test_with_batch_norm_the_weights_are_the_same_and_the_processes_agree(
    two: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = trained(tmp_path, "sgd", frozen=False)["weights"]
    first, second = (one["norms"]["weights"] for one in two)
    for key, weight in alone.items():
        if "num_batches" not in key:
            assert torch.equal(first[key], second[key]), key
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(first[key], weight, rtol=1e-3, atol=1e-4)


def test_features_and_evaluations_are_shared_out(two: list[dict[str, Any]]) -> None:
    alone = looked_at()
    for found in (one["looked_at"] for one in two):
        for name, features in alone["features"].items():
            torch.testing.assert_close(found["features"][name], features, rtol=1e-5, atol=1e-6)
        for name in ("accuracies", "confusion", "few"):
            assert torch.equal(found[name], alone[name])
