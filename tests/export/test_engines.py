"""Graphs of a runtime beside what else the process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Graphs go in the order in which they came, then a signal comes.
CODE = """
import gc, os, signal, sys
from pathlib import Path
from litemkd_runtime.engines import load_graph

signal.signal(signal.SIGTERM, lambda *_: print("told"))
graphs = [load_graph(Path(sys.argv[1]), "openvino") for _ in range(3)]
while graphs:
    del graphs[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_heard_after_graphs_of_openvino_are_gone(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    given = openvino.opset8.parameter([1, 3, 8, 8])
    weights = openvino.opset8.constant(np.ones((1, 3, 1, 1), np.float32))
    made = openvino.opset8.convolution(given, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    file = tmp_path / "tiny.xml"
    openvino.save_model(openvino.Model([made], [given]), file)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
