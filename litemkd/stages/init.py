"""init: a folder of recordings to an experiment file that trains on it, and says what was found and chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from litemkd.config import load_config
from litemkd.config.schema import schema_line
from litemkd.data.finding.survey import Survey, survey
from litemkd.data.splits import SPLITS, make_splits
from litemkd.errors import ConfigError, DataError, some
from litemkd.storage.files import write_text

SHOTS = (5, 4, 3, 2, 1)
MOST_WAYS = 5
FRAMES = 8  # T
REST = ("unclassified", "unknown", "other", "others", "background", "negative", "none", "noise", "misc")
_GENERAL = ("videos", "rgb_videos", "clips", "data", "rgb")  # names of folders that say nothing of the data


@dataclass(frozen=True)
class Plan:
    """What can be done with the clips that there are.

    Attributes:
        classes: of each split.
        left_out: classes with too few clips, and those whose name says that they are none.
        way, shot, queries: of training episodes.
    """

    classes: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    way: int
    shot: int
    queries: int


def init_stage(folder: Path, *, file: Path | None = None, name: str | None = None) -> tuple[Path, Survey, Plan]:
    """Write an experiment file for the recordings below a folder.

    Args:
        folder: recordings in class folders, at any depth.
        file: to write; `<name>.yaml` in the working directory when None.
        name: of the data set; that of the folder when None.

    Returns:
        The file, what was found, and what was chosen.

    Raises:
        ConfigError: the file is there already; it is never written over.
        DataError: there are no recordings, or too few of them.
    """
    name = name or _name(folder)
    file = file or Path(f"{name}.yaml")
    if file.exists():
        raise ConfigError(
            [f"{file} is there already and is not written over; another file by --output would do"]
        )
    found = survey(folder)
    plan = make_plan(found.clips)
    write_text(file, experiment_text(name, folder.resolve(), found, plan))
    load_config(file)
    return file, found, plan


def make_plan(clips: Mapping[str, int]) -> Plan:
    """Which classes to train on, to choose by and to test on, and what episodes their clips are enough for.

    Args:
        clips: how many of each class.

    Raises:
        DataError: fewer than six classes of two clips: two each to train on, to choose by and to test on.
    """
    least = 2 * len(SPLITS)
    for shot in SHOTS:
        kept = sorted(one for one, count in clips.items() if count > shot and one.lower() not in REST)
        if len(kept) >= least:
            break
    else:
        raise DataError(
            f"{len(kept)} classes with two clips or more ({some(kept)}); {least} would do, two each to train "
            "on, to choose by and to test on. To name clips of fewer classes no training is needed: "
            "`litemkd predict`, with a model that was trained on others"
        )
    held = max(min(MOST_WAYS, len(kept) // 3), round(len(kept) / 5))
    shares = {"train": 1 - 2 * held / len(kept), "val": held / len(kept), "test": held / len(kept)}
    splits = make_splits([f"{one}/clip" for one in kept], shares, seed=0)
    classes = {name: splits[name].classes for name in SPLITS}
    way = min(MOST_WAYS, *map(len, classes.values()))
    fewest = min(clips[one] for one in classes["train"])
    return Plan(classes, tuple(sorted(set(clips) - set(kept))), way, shot, min(5, fewest - shot))


def experiment_text(name: str, folder: Path, found: Survey, plan: Plan) -> str:
    """The experiment file."""
    frames, sides = found.frames, found.sides
    total, count = sum(found.clips.values()), len(found.clips)
    notes = [
        f"{name}: {total} clips of {count} classes in {str(folder)!r}, as `litemkd init` found them.",
        f"Of {found.opened} that were opened: {frames[0]} to {frames[-1]} frames, in the middle "
        f"{frames[len(frames) // 2]}; short side {sides[0]} to {sides[-1]} pixels.",
    ]
    if few := [f"{one} ({found.clips[one]})" for one in plan.left_out]:
        notes.append(f"Left out, with too few clips, or the name of no class: {', '.join(few)}.")
    if found.unreadable:
        notes.append(f"Could not be read: {len(found.unreadable)}, such as: {found.unreadable[0]}")
    if (short := sum(one < FRAMES for one in frames)) > 0:
        notes.append(f"Shorter than {FRAMES} frames, and skipped: {short} of those that were opened.")
    bad = "skip # clips that cannot be read, or are too short, are left out"
    if not (found.unreadable or short):
        bad = "error # skip leaves out clips that cannot be read"
    sided = found.sided
    flip = (
        f"{some(sided)}: a mirror would make another class of them"
        if sided
        else "no class name speaks of a side"
    )
    shots = [plan.shot, 1] if plan.shot > 1 else [1]
    classes = "".join(f"    {split}: {_listed(plan.classes[split])}\n" for split in SPLITS)
    return f"""{_comment(*notes)}
#
#   litemkd distill --config {name}.yaml
#
# Every key: docs/config.md. What is not said here is as in `base`, then as in the defaults.
{schema_line()}
base: toy # small networks that start from random weights: minutes on a CPU, nothing is downloaded
data:
  dataset: {json.dumps(name)} # what is made of the clips goes to data/{name}/
  videos: {json.dumps(str(folder), ensure_ascii=False)}
  # The student is tested on classes that it has never seen, and chosen by val. Deal them out as you like.
  classes:
{classes}  on_unlisted_class: skip # folders of other classes are left alone
  on_bad_clip: {bad}
  flip: {"false" if sided else "true"} # {flip}
  frames: {FRAMES} # of a clip, evenly spread
  crop_scale: [0.75, 1.0]
  jitter: 0.2
  derive: {{flow: dis}} # the teacher sees movement, too, computed from the clips
episode: {{way: {plan.way}, shot: {plan.shot}, queries: {plan.queries}}} # of training
evaluation: {{shots: {shots}}} # tested with so many examples of each class
teacher:
  modalities: [rgb, flow]
  expert:
    backbone: &plain {{normalise: none}}
    temporal: difference # networks see how frames differ
    head: &head {{name: sequence}} # clips are compared as whole sequences
    train: {{episodes: 150, validations: 3}}
  head: *head
  train: {{lr: 0.0003, validations: 8}}
student:
  backbone: *plain
  temporal: difference
  head: *head
  train: {{episodes: 200, validations: 5}} # more of them learn more
loss:
  support: 0.0
# With a GPU, networks that have seen ImageNet know more; their weights are downloaded once. Instead:
#
# data: {{short_side: 256, crop: 224}}
# student: {{backbone: {{name: mobilenet_v3_small, weights: imagenet, normalise: imagenet, pooling: mean}}}}
"""


def _comment(*notes: str) -> str:
    return "\n".join(f"# {' '.join(note.split())}" for note in notes)


def _listed(classes: tuple[str, ...]) -> str:
    """Names as a YAML list, over several lines where it is long."""
    text: str = yaml.safe_dump(list(classes), default_flow_style=True, allow_unicode=True, width=100)
    return text.strip().replace("\n", "\n      ")


def _name(folder: Path) -> str:
    """A name for the data set: the folder's, or of one that is called `videos`, that of the folder above."""
    whole = folder.resolve()
    words = whole.parent.name if whole.name.lower() in _GENERAL else whole.name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", words).strip("._") or "mine"
    return "my_toy" if name == "toy" else name
