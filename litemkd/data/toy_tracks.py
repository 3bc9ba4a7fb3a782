"""Tracks: where a hand or foot of the toy puppet is, or how its body is bent, over the course of an action.

A track is a list of (moment, value) from 0, the action's start, to 1, its end; between them it runs smoothly.
Hands and feet are given relative to their shoulder or hip as (outwards, up, forwards) in lengths of the
stretched limb, so the same numbers serve the left and the right side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Point = tuple[float, ...]
Track = tuple[tuple[float, Point], ...]

# Hands.
DOWN: Point = (0.14, -0.96, 0.05)
SIDE: Point = (0.97, 0.0, 0.1)
UP: Point = (0.2, 0.96, 0.08)
FRONT: Point = (0.05, 0.05, 0.98)
CHEST: Point = (-0.1, -0.2, 0.5)
LOW: Point = (0.0, -0.8, 0.55)
BACK: Point = (0.3, -0.75, -0.55)
# Feet.
FOOT: Point = (0.06, -0.99, 0.0)
KNEE_UP: Point = (0.05, -0.42, 0.45)

#: Every channel of a pose with its value at rest: hands and feet in limb lengths; `bend` (forwards), `lean`
#: (to the puppet's right), `twist` (of the chest) and `turn` (of the whole body) in degrees; `crouch` in leg
#: lengths; `jump` (up) and `shift` (to the puppet's right) in metres.
REST: Mapping[str, Point] = {
    "right_hand": DOWN,
    "left_hand": DOWN,
    "right_foot": FOOT,
    "left_foot": FOOT,
    "bend": (0.0,),
    "lean": (0.0,),
    "twist": (0.0,),
    "turn": (0.0,),
    "crouch": (0.0,),
    "jump": (0.0,),
    "shift": (0.0,),
}


@dataclass(frozen=True)
class Action:
    """One class: its name, the split it belongs to, its tracks, and whether it repeats.

    Channels without a track stay at rest. A repeating action's tracks end where they began.
    """

    name: str
    split: str
    tracks: Mapping[str, Track]
    repeats: bool = False


def even(*values: Point | float) -> Track:
    """A track through `values`, evenly spaced in time."""
    points = [value if isinstance(value, tuple) else (float(value),) for value in values]
    return tuple((i / (len(points) - 1), point) for i, point in enumerate(points))


def timed(*keys: tuple[float, Point | float]) -> Track:
    """A track through (moment, value) pairs."""
    return tuple((moment, value if isinstance(value, tuple) else (float(value),)) for moment, value in keys)


def backwards(tracks: Mapping[str, Track]) -> dict[str, Track]:
    """The same tracks played from the end to the start."""
    return {
        channel: tuple((1.0 - u, value) for u, value in reversed(track)) for channel, track in tracks.items()
    }


def circle(centre: Point, radius: float, plane: str, start: float = 0.0, turns: float = 1.0) -> Track:
    """A hand's circle: in plane "front" (outwards, up) or "side" (forwards, up), from angle `start`.

    Angles are in degrees: 0 is outwards (or forwards), 90 is up; negative `turns` go the other way round.
    """
    steps = max(8, round(12 * abs(turns)))
    keys = []
    for i in range(steps + 1):
        angle = math.radians(start + 360.0 * turns * i / steps)
        across, up = radius * math.cos(angle), radius * math.sin(angle)
        x, y, z = centre
        keys.append((i / steps, (x + across, y + up, z) if plane == "front" else (x, y + up, z + across)))
    return tuple(keys)


def both(track: Track) -> dict[str, Track]:
    """The same track for both hands."""
    return {"right_hand": track, "left_hand": track}
