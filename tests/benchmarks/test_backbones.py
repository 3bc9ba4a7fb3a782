"""The table of backbones: its rows, and that the document shows one of each family."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from benchmarks.backbones import FAMILIES, main

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"


def test_a_row_tells_width_parameters_work_and_time() -> None:
    done = CliRunner().invoke(main, ["conv4", "timm:repghostnet_050", "--side", "64", "--repeats", "1"])
    assert done.exit_code == 0, done.output
    rows = [line.strip("| ").split(" | ") for line in done.output.splitlines()[2:]]
    assert [row[-5:-1] for row in rows] == [
        ["`conv4`", "32", "0.03", "0.05"],
        ["`timm:repghostnet_050`", "480", "0.41", "0.03"],  # without the branches of its training
    ]
    assert all(row[-1].isdigit() for row in rows)


def test_the_document_has_a_row_for_each() -> None:
    found = re.findall(r"^\| ([\w-]+) \| `([\w:]+)` \| \d+ \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert found == [(family, name) for family, members in FAMILIES.items() for name in members]
