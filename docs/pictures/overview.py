"""Draws docs/pictures/overview.svg, how a student comes about: `python docs/pictures/overview.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "overview", "font.family": "sans-serif"})

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402

TARGET = Path(__file__).with_suffix(".svg")
TEACHER, STUDENT, DATA = "#dbe9f6", "#fde3c8", "#eeeeee"


def box(axes: Axes, x: float, y: float, width: float, words: str, colour: str) -> None:
    """A box around its middle."""
    shape = "round,pad=0,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - 0.28), width, 0.56, shape, facecolor=colour, edgecolor="#57606a")
    )
    axes.text(x, y, words, ha="center", va="center", fontsize=10)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> None:
    """From one place to another."""
    style = {"arrowstyle": "-|>", "color": "#57606a", "linestyle": "--" if dashed else "-"}
    axes.annotate("", end, start, arrowprops=style)


def main() -> None:
    """Draw it."""
    figure, axes = plt.subplots(figsize=(9, 3.9), layout="constrained")
    axes.set(xlim=(0, 11.4), ylim=(-1.05, 3.9))
    axes.axis("off")
    for y, name in zip((3.3, 2.6, 1.9, 1.2), ("RGB", "optical flow", "depth", "skeleton"), strict=True):
        box(axes, 1.0, y, 1.7, name, DATA)
        box(axes, 3.3, y, 1.5, "expert", TEACHER)
        arrow(axes, (1.85, y), (2.55, y))
        arrow(axes, (4.05, y), (4.75, 2.25 + (y - 2.25) * 0.25))
    box(axes, 5.5, 2.25, 1.5, "fusion", TEACHER)
    box(axes, 7.5, 2.25, 1.3, "head", TEACHER)
    box(axes, 10.0, 2.25, 2.4, "which class, how sure", TEACHER)
    arrow(axes, (6.25, 2.25), (6.85, 2.25))
    arrow(axes, (8.15, 2.25), (8.8, 2.25))
    axes.text(11.2, 3.3, "teacher: trained first, then fixed", ha="right", fontsize=10, color="#0a5293")
    box(axes, 1.0, -0.3, 1.7, "RGB", DATA)
    box(axes, 3.3, -0.3, 1.9, "light backbone", STUDENT)
    box(axes, 7.5, -0.3, 1.3, "head", STUDENT)
    box(axes, 10.0, -0.3, 2.4, "which class, how sure", STUDENT)
    for start, end in ((1.85, 2.35), (4.25, 6.85), (8.15, 8.8)):
        arrow(axes, (start, -0.3), (end, -0.3))
    axes.text(11.2, -0.9, "student: all that is used later", ha="right", fontsize=10, color="#9a4b00")
    arrow(axes, (10.0, 1.97), (10.0, -0.02), dashed=True)
    axes.text(
        9.9, 1.0, "distillation: the student\nlearns to answer alike", ha="right", va="center", fontsize=10
    )
    figure.savefig(TARGET, metadata={"Date": None}, facecolor="white")
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main()
