"""One page of HTML that tells what a student does, in pictures: no server, no network, no script, one file.

What comes from data (names of classes and clips) is escaped by the template, and the page allows no script.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.looks import Look
from litemkd.report.labels import class_labels, label

SIDE = 96  # of a frame, pixels
_SHADES = ((255, 255, 255), (9, 105, 218))  # of no and of all attention


@dataclass(frozen=True)
class Strip:
    """A clip: its frames as addresses of pictures, words, and what each frame is worth."""

    frames: Sequence[str]
    title: str = ""
    words: str = ""
    worth: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out."""

    id: str
    title: str
    words: str
    rows: Sequence[Mapping[str, object]] = ()
    clips: Sequence[Strip] = ()
    looks: Sequence[Mapping[str, object]] = ()
    pictures: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """The page: its heading, facts below it, and sections."""

    title: str
    facts: Sequence[str]
    sections: Sequence[Section] = field(default_factory=tuple)


def page_html(page: Page) -> str:
    """The page as text."""
    return _environment().get_template("page.html").render(page=page)


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )


def result_section(evaluation: Evaluation, way: int) -> Section:
    """Accuracy, overall and by class, the hardest ones first."""
    rows = [
        _row(name, share, f"{share:.1f} %", "")
        for name, share in sorted(evaluation.per_class.items(), key=lambda one: one[1])
        if np.isfinite(share)
    ]
    words = (
        f"{evaluation.accuracy} % of {way}-way {evaluation.shot}-shot queries, over "
        f"{len(evaluation.accuracies):,} episodes of new classes; guessing gives {100 / way:.1f} %. "
        "By class, the hardest first:"
    )
    return Section("result", "Result", words, rows=rows)


def classes_section(clips: Mapping[str, Sequence[tuple[str, np.ndarray]]]) -> Section:
    """A contact sheet: of each class a few clips, each its name and frames (T, H, W, 3) uint8."""
    shown = [
        Strip(frame_pictures(frames), name, f"clip {clip}")
        for name, some in clips.items()
        for clip, frames in some
    ]
    return Section("classes", "Classes", "Clips of each class, as the student sees them.", clips=shown)


def mistakes_section(strips: Sequence[Strip]) -> Section:
    """The clips that are named wrongly most often."""
    words = "Clips that were named wrongly most often, with the class that they were mostly taken for."
    return Section("mistakes", "Most often mistaken", words if strips else "None was.", clips=strips)


def episode_section(looks: Sequence[tuple[str, Look, np.ndarray, np.ndarray]]) -> Section:
    """Episodes: the query's name, a look, the query's frames (T, H, W, 3), the supports' (S, T, H, W, 3)."""
    words = (
        "One query of an episode: its frames, how sure the student is of each class (by the logits at the "
        "right), and the examples it was given. The number below a frame, and its blue bar, is how much the "
        "lead of the true class shrinks when that frame is covered."
    )
    return Section("episodes", "Episodes", words, looks=[_look(*one) for one in looks])


def map_section(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str], remark: str
) -> Section:
    """Maps (V, 2) of clips by kind of features, coloured by their classes."""
    words = (
        "Each point is a test clip; clips of like features lie near one another (t-SNE of all frames). "
        f"Distances between far groups mean nothing.{remark}"
    )
    pictures = [
        {"title": name, "picture": figure_picture(map_figure(name, places, labels, classes))}
        for name, places in maps.items()
    ]
    return Section("map", "Map of the classes", words, pictures=pictures)


def map_figure(name: str, places: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """A map (V, 2) of clips, coloured by class."""
    figure = Figure(figsize=(4.6, 4.4 + 0.24 * -(-len(classes) // 2)), layout="constrained")
    axes = figure.subplots()
    marks = "osD^vPX*"
    for place, words in enumerate(class_labels(classes)):
        x, y = places[labels == place].T
        marker = marks[place // 10 % len(marks)]
        axes.scatter(x, y, 16, color=f"C{place % 10}", marker=marker, label=words, alpha=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(label(name), fontsize=12)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10, frameon=False, markerscale=1.3)
    return figure


def frame_pictures(frames: np.ndarray) -> list[str]:
    """Frames (T, H, W, 3) uint8 as addresses that hold them."""
    found = []
    for frame in frames:
        picture = Image.fromarray(frame)
        scale = SIDE / min(picture.size)
        if scale < 1:
            picture = picture.resize([round(scale * side) for side in picture.size], Image.Resampling.BOX)
        found.append(_address(picture, "JPEG", quality=82))
    return found


def figure_picture(figure: Figure) -> str:
    """A matplotlib figure as an address that holds it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _look(clip: str, look: Look, query: np.ndarray, supports: np.ndarray) -> dict[str, Any]:
    shares = np.exp(look.logits - look.logits.max())
    shares /= shares.sum()
    said = int(look.logits.argmax())
    kinds = {said: "wrong", look.label: "true"}
    largest = max(float(np.abs(look.worth).max()), 1e-9)
    worth = [
        {"share": round(100 * max(0.0, one) / largest), "words": f"{one:+.2f}"} for one in look.worth.tolist()
    ]
    verdict = "named rightly" if look.right else f"named {look.classes[said]}"
    groups = []
    for place, name in enumerate(look.classes):
        members = np.flatnonzero(look.labels == place)
        grid, words = None, ""
        if look.meets is not None and place in (said, look.label):
            grid = _grid(look.meets[members].sum(0))
            words = (
                "Which frames meet, those of the query down and those of all examples below across: the bluer, "
                "the more."
            )
        groups.append(
            {
                "title": name,
                "clips": [Strip(frame_pictures(supports[one])) for one in members],
                "grid": grid,
                "words": words,
            }
        )
    groups.sort(key=lambda group: group["title"] not in (look.classes[look.label], look.classes[said]))
    return {
        "title": f"Episode {look.number}: {look.classes[look.label]},",
        "right": look.right,
        "verdict": verdict,
        "words": f"Clip {clip}; {len(look.classes)} classes with {_examples(look)}.",
        "query": Strip(frame_pictures(query), worth=worth),
        "rows": [
            _row(name, 100 * share, f"{logit:.2f}", kinds.get(place, ""))
            for place, (name, share, logit) in enumerate(zip(look.classes, shares, look.logits, strict=True))
        ],
        "groups": groups,
    }


def _examples(look: Look) -> str:
    each = len(look.support) // len(look.classes)
    return "one example each" if each == 1 else f"{each} examples each"


def _row(name: str, share: float, words: str, kind: str) -> dict[str, object]:
    return {"name": name, "share": round(float(share), 1), "words": words, "kind": kind}


def _grid(values: np.ndarray) -> str:
    """(T, T) numbers as squares of a picture, the least white and the largest blue."""
    part = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    low, high = (np.array(shade, float) for shade in _SHADES)
    shades = (low + part[..., None] * (high - low)).round().astype(np.uint8)
    return _address(Image.fromarray(shades), "PNG")


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
