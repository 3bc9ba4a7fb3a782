"""Draws docs/pictures/recognise.webp: the toy's student names clips of classes that no training saw.

    python docs/pictures/recognise.py    # in a folder where `litemkd distill` has run

The clips are the first ones of five test classes: two of each are the examples, the third one is asked about.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from litemkd.config import Config
from litemkd.config.loading import load_config
from litemkd.config.shipped import EXPERIMENTS
from litemkd.data.finding.loose import read_centre
from litemkd.stages.predict import Predictions, predict_stage

CLASSES = ("crawl_stroke", "jumping_jack", "touch_toe", "lift_to_shelf", "turn_away")
SHOTS = 2
TARGET = Path(__file__).with_suffix(".webp")
SMALL, LARGE, ROW = 58, 190, 62  # pixels
WIDTH, HEIGHT, TOP = 720, 5 * ROW + 36, 32
SHOWN_MS, HELD_MS = 170, 1400
INK, FAINT, RIGHT, WRONG, BAR = "#1f2328", "#6e7781", "#1a7f37", "#cf222e", "#8fb8de"
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def asked(config: Config, folder: Path) -> tuple[Predictions, Path, Path]:
    """What the champion says of the clips, and where examples and questions lie."""
    videos = config.data.root / "toy" / "videos"
    for name in CLASSES:
        clips = sorted((videos / name).iterdir())[: SHOTS + 1]
        for kind, part in (("examples", clips[:SHOTS]), ("clips", clips[SHOTS:])):
            (folder / kind / name).mkdir(parents=True)
            for clip in part:
                shutil.copy(clip, folder / kind / name)
    return predict_stage(config, folder / "examples", folder / "clips"), folder / "examples", folder / "clips"


def draw(config: Config) -> list[tuple[Image.Image, int]]:
    """Pictures with how many milliseconds each is shown."""
    font, small = ImageFont.truetype(FONT, 14), ImageFont.truetype(FONT, 12)
    data = config.data

    def frames(path: Path) -> np.ndarray:
        return read_centre(path, data.frames, data.short_side, data.short_side)

    with tempfile.TemporaryDirectory() as name:
        said, examples, _ = asked(config, Path(name))
        known = {one: [frames(path) for path in sorted((examples / one).iterdir())] for one in said.classes}
        questions = [frames(clip.path) for clip in said.queries]
    pictures = []
    for number, (clip, question) in enumerate(zip(said.queries, questions, strict=True)):
        row = said.probabilities[number]
        for t in range(data.frames):
            picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
            pen = ImageDraw.Draw(picture)
            for x, words in (
                (8, f"{SHOTS} examples of each class"),
                (300, "a new clip"),
                (510, "the student says"),
            ):
                pen.text((x, 6), words, FAINT, small)
            for place, name in enumerate(said.classes):
                y = TOP + place * ROW
                for shot, one in enumerate(known[name]):
                    picture.paste(Image.fromarray(one[t]).resize((SMALL, SMALL)), (8 + shot * (SMALL + 4), y))
                pen.text((140, y + SMALL // 2 - 9), name.replace("_", " "), INK, font)
                # Bars grow while the clip plays; the last picture holds what was said.
                share = row[place] * (t + 1) / data.frames
                colour = BAR
                if t == data.frames - 1 and place == row.argmax():
                    colour = RIGHT if name == clip.claimed else WRONG
                pen.rectangle((510, y + 16, 510 + int(share * 150), y + 40), colour)
                pen.text((516 + int(share * 150), y + 19), f"{100 * share:.0f} %", INK, font)
            picture.paste(Image.fromarray(question[t]).resize((LARGE, LARGE)), (300, TOP + 40))
            if t == data.frames - 1:
                pen.text((300, TOP + 48 + LARGE), f"it is: {str(clip.claimed).replace('_', ' ')}", INK, font)
            pictures.append((picture, HELD_MS if t == data.frames - 1 else SHOWN_MS))
    return pictures


if __name__ == "__main__":
    (first, _), *others = shown = draw(load_config(EXPERIMENTS.find("toy", Path())))
    first.save(
        TARGET,
        save_all=True,
        append_images=[picture for picture, _ in others],
        duration=[duration for _, duration in shown],
        loop=0,
        quality=55,
        method=6,
    )
    print(f"written: {TARGET}, {TARGET.stat().st_size / 1000:.0f} KB")
