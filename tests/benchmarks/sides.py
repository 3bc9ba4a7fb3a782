"""Sides of made-up works, which the harness's processes import."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.work import Part, Setting, Side

VALUES = (5.0, 1.0, 3.0)


def values(_: Setting) -> Side:
    return Side(lambda: {"answer": np.arange(3.0)}, (Part(lambda n: VALUES[n], 2.0), Part(lambda n: 10.0 * n)))


def one(_: Setting) -> Side:
    return Side(lambda: {"answer": np.arange(3.0) + 1e-4}, (Part(lambda n: 1.0),))


def sleeper(setting: Setting) -> Side:
    def note(number: int) -> None:
        with (setting.folder / "order").open("a") as file:
            file.write(f"sleeper {number}\n")
        time.sleep(0.2)

    return Side(lambda: {"answer": np.zeros(2)}, (Part(note),), lambda: (setting.folder / "closed").touch())


def quick(setting: Setting) -> Side:
    def note(number: int) -> None:
        with (setting.folder / "order").open("a") as file:
            file.write(f"quick {number}\n")

    return Side(lambda: {"answer": np.zeros(2)}, (Part(note, 0.5),))


def wide(_: Setting) -> Side:
    def fill(_: int) -> None:
        np.ones(2**28, np.uint8)

    return Side(lambda: {"answer": np.zeros(2)}, (Part(fill),))


def broken(_: Setting) -> Side:
    raise FileNotFoundError("no such clips")
