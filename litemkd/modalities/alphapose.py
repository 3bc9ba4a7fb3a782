"""Reading AlphaPose's results: people of a video as joints in the picture (Fang et al., TPAMI 2022).

One JSON list for a video, with an entry for each person in each frame: `image_id` names the frame (`17.jpg`, or
the name of a frame's picture that ends in its number), `keypoints` are x, y and a confidence of each joint in
pixels of the video, `score` is the person's. Bodies of 17 (COCO), 26 and 136 (Halpe) and 133 (COCO whole-body)
joints begin with COCO's 17, and these are taken.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from litemkd.errors import DataError
from litemkd.storage.files import not_a_file

JOINTS = 17
BODIES = (17, 26, 133, 136)
MIN_CONFIDENCE = 0.3  # of a joint that is drawn, 0 to 1
PERSON = 1  # category_id


def read_alphapose(path: Path, n_frames: int) -> list[list[np.ndarray]]:
    """The people of each frame of a recording, the one with the highest score first.

    Frames are counted from 0, as AlphaPose does for a video; from 1 where the last number is the number of
    frames, as it is when FFmpeg made the pictures.

    Args:
        path: the JSON file.
        n_frames: frames in the recording.

    Returns:
        For each of the n_frames: (17, 3) float32 arrays, x, y in pixels, and 1 for joints above
        `MIN_CONFIDENCE`, else 0. No arrays where nobody was found.

    Raises:
        DataError: unreadable, another form, or frames beyond the recording's end.
    """
    path = Path(path)
    if wrong := not_a_file(path):
        raise DataError(f"cannot read AlphaPose's results {path}: {wrong}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read AlphaPose's results {path}: {error}") from error
    if not isinstance(entries, list):
        raise DataError(
            f"{path} holds a {type(entries).__name__}; AlphaPose's default form, a list of people, is needed"
        )
    found: dict[int, list[tuple[float, np.ndarray]]] = {}
    for place, entry in enumerate(entries):
        try:
            if int(entry.get("category_id", PERSON)) != PERSON:
                continue
            number, score, joints = _person(entry)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: entry {place} is not a person of AlphaPose ({_reason(error)}); image_id, keypoints "
                "and score are needed"
            ) from error
        found.setdefault(number, []).append((score, joints))
    last = max(found, default=0)
    if last > n_frames:
        raise DataError(f"{path} has people in frame {last}, but its video has {n_frames} frames")
    first = 1 if last == n_frames else 0
    if min(found, default=first) < first:
        raise DataError(
            f"{path} has people in frame 0 and in frame {last}, but its video has {n_frames} frames"
        )
    ordered = {
        number - first: [one for _, one in sorted(some, key=lambda pair: -pair[0])]
        for number, some in found.items()
    }
    return [ordered.get(frame, []) for frame in range(n_frames)]


def _person(entry: Any) -> tuple[int, float, np.ndarray]:
    """Number of the frame, score, and (17, 3) joints of one entry."""
    numbers = re.findall(r"\d+", Path(str(entry["image_id"])).stem)
    if not numbers:
        raise ValueError(f"image_id {entry['image_id']!r} has no number")
    values = np.array(entry["keypoints"], np.float64)
    if values.shape not in [(3 * joints,) for joints in BODIES]:
        raise ValueError(
            f"keypoints of shape {values.shape}; 3 numbers for each of "
            f"{', '.join(map(str, BODIES))} joints are known"
        )
    score = float(entry["score"])
    if not np.isfinite(values).all() or not np.isfinite(score):
        raise ValueError("values that are not numbers")
    joints = values.reshape(-1, 3)[:JOINTS].astype(np.float32)
    joints[:, 2] = joints[:, 2] >= MIN_CONFIDENCE
    return int(numbers[-1]), score, joints


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
