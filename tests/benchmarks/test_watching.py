"""What watching costs a frame: every frame is decided on, and windows that are encoded anew cost more."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from benchmarks.sizes import T
from benchmarks.watching import main

pytest.importorskip("onnxscript")


def test_every_frame_of_a_film_is_decided_on_and_windows_anew_cost_more() -> None:
    done = CliRunner().invoke(main, ["conv4", "--side", "64", "--seconds", "12"])
    assert done.exit_code == 0, done.output
    frames, looked, decisions = map(
        int, re.search(r"(\d+) frames.* (\d+) looked at, (\d+) decisions", done.output).groups()
    )
    assert frames == looked == 20 * 25  # whole pieces
    assert decisions == frames - (T - 1)
    assert float(re.search(r"anew, ([\d.]+) times", done.output).group(1)) > 1
    memory = [int(one) for one in re.search(r"memory: ([\d, ]+) MB", done.output).group(1).split(",")]
    assert len(memory) == 5
    assert memory[-1] < memory[0] + 200
