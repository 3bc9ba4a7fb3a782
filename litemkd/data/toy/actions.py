"""The actions of the toy data set: what each class of movement does.

Classes differ in their tracks and in nothing else. Many start from the same pose, and several are another one
played backwards, so a single frame tells little. No class is another one's mirror image, because training flips
pictures.

A track says where a hand or foot of the puppet is, or how its body is bent, over the course of an action: a
list of (moment, value) from 0, the action's start, to 1, its end; between them it runs smoothly. Hands and feet
are given relative to their shoulder or hip as (outwards, up, forwards) in lengths of the stretched limb, so the
same numbers serve the left and the right side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


_RAISE_SIDE = {"right_hand": even(DOWN, SIDE, UP)}
_RAISE_BOTH = both(even(DOWN, SIDE, UP))
_PUSH = {
    **both(timed((0, CHEST), (0.7, FRONT), (1, FRONT))),
    "bend": timed((0, 0), (0.7, 35), (1, 35)),
    "crouch": timed((0, 0), (0.7, 0.15), (1, 0.15)),
    "left_foot": timed((0, FOOT), (0.7, (0.05, -0.95, -0.4)), (1, (0.05, -0.95, -0.4))),
}
_SLOW_UP_QUICK_DOWN = {"right_hand": timed((0, DOWN), (0.38, FRONT), (0.76, UP), (0.88, FRONT), (1, DOWN))}
_LIFT = {
    **both(timed((0, LOW), (0.25, LOW), (0.6, FRONT), (1, UP))),
    "crouch": timed((0, 0.3), (0.2, 0.3), (0.6, 0.0), (1, 0.0)),
    "bend": timed((0, 45), (0.2, 45), (0.65, 0), (1, 0)),
}
_BOW_SLOW = {"bend": timed((0, 0), (0.7, 70), (1, 0)), **both(timed((0, DOWN), (0.7, LOW), (1, DOWN)))}
_RING: Point = (0.3, 0.1, 0.45)

_TRAIN: Sequence[Action] = (
    Action("raise_arm_sideways", "train", _RAISE_SIDE),
    Action("lower_arm_sideways", "train", backwards(_RAISE_SIDE)),
    Action("raise_arm_forwards", "test", {"right_hand": even(DOWN, FRONT, UP)}),
    Action("raise_both_arms", "train", _RAISE_BOTH),
    Action("lower_both_arms", "train", backwards(_RAISE_BOTH)),
    Action("spread_arms_from_front", "val", both(even(FRONT, (0.7, 0.05, 0.7), SIDE))),
    Action("close_arms_to_front", "val", both(even(SIDE, (0.7, 0.05, 0.7), FRONT))),
    Action("wave_low", "val", {"right_hand": even(DOWN, (0.75, -0.6, 0.2), DOWN)}, repeats=True),
    Action("wave_both_high", "train", both(even(UP, (0.7, 0.65, 0.1), UP)), repeats=True),
    Action(
        "punch_once",
        "val",
        {
            **both(even(CHEST, CHEST)),
            "right_hand": timed((0, CHEST), (0.45, CHEST), (0.65, FRONT), (1, CHEST)),
            "twist": timed((0, 0), (0.4, -15), (0.65, 25), (1, 0)),
        },
    ),
    Action(
        "punch_in_turns",
        "train",
        {
            "right_hand": timed((0, CHEST), (0.25, FRONT), (0.5, CHEST), (1, CHEST)),
            "left_hand": timed((0, CHEST), (0.5, CHEST), (0.75, FRONT), (1, CHEST)),
        },
        repeats=True,
    ),
    Action(
        "clap_in_front",
        "val",
        both(even((-0.2, -0.1, 0.75), (0.7, -0.1, 0.6), (-0.2, -0.1, 0.75))),
        repeats=True,
    ),
    Action("clap_overhead", "test", both(even((-0.22, 0.9, 0.15), SIDE, (-0.22, 0.9, 0.15))), repeats=True),
    Action("windmill_out", "train", both(circle((0.05, 0.0, 0.2), 0.93, "front", 270, 1))),
    Action("windmill_in", "train", both(circle((0.05, 0.0, 0.2), 0.93, "front", 270, -1))),
    Action(
        "crawl_stroke",
        "test",
        {
            "right_hand": circle((0.2, 0.05, 0.1), 0.88, "side", 270, -1),
            "left_hand": circle((0.2, 0.05, 0.1), 0.88, "side", 90, -1),
            "bend": even(18, 18),
        },
        repeats=True,
    ),
    Action(
        "squat",
        "train",
        {"crouch": even(0, 0.45, 0), "bend": even(0, 25, 0), **both(even(DOWN, FRONT, DOWN))},
    ),
    Action(
        "jump_up",
        "val",
        {
            "crouch": timed((0, 0), (0.35, 0.3), (0.5, 0), (0.75, 0), (0.85, 0.2), (1, 0)),
            "jump": timed((0, 0), (0.45, 0), (0.65, 0.28), (0.85, 0), (1, 0)),
            **both(timed((0, DOWN), (0.35, BACK), (0.6, (0.3, -0.3, 0.85)), (1, DOWN))),
        },
    ),
    Action(
        "jumping_jack",
        "test",
        {
            **both(even(DOWN, SIDE, UP, SIDE, DOWN)),
            "right_foot": even(FOOT, (0.45, -0.88, 0), FOOT),
            "left_foot": even(FOOT, (0.45, -0.88, 0), FOOT),
            "jump": timed((0, 0), (0.25, 0.1), (0.5, 0), (0.75, 0.1), (1, 0)),
        },
        repeats=True,
    ),
    Action("bow", "train", {"bend": even(0, 65, 65, 0)}),
    Action(
        "bend_sideways",
        "test",
        {"lean": even(0, 30, 0, -30, 0), "right_hand": even(DOWN, DOWN), "left_hand": even(DOWN, UP, DOWN)},
    ),
    Action("twist_chest", "val", {"twist": even(0, 50, 0, -50, 0), **both(even(SIDE, SIDE))}, repeats=True),
    Action("turn_away", "test", {"turn": even(0, 90, 180)}),
    Action(
        "throw_overhand",
        "train",
        {
            "right_hand": timed(
                (0, DOWN),
                (0.4, (0.5, 0.45, -0.6)),
                (0.6, (0.2, 0.85, 0.4)),
                (0.8, (-0.2, -0.5, 0.8)),
                (1, DOWN),
            ),
            "twist": timed((0, 0), (0.4, -35), (0.75, 30), (1, 0)),
            "bend": timed((0, 0), (0.4, -8), (0.75, 20), (1, 0)),
        },
    ),
    Action(
        "throw_underhand",
        "val",
        {
            "right_hand": timed((0, DOWN), (0.4, BACK), (0.6, LOW), (0.8, (0.0, 0.3, 0.9)), (1, DOWN)),
            "bend": timed((0, 0), (0.4, 25), (0.8, 0), (1, 0)),
            "right_foot": timed((0, FOOT), (0.4, (0.05, -0.93, -0.35)), (1, FOOT)),
        },
    ),
    Action(
        "touch_toe",
        "test",
        {
            "bend": even(0, 75, 0),
            "right_hand": even(DOWN, (-0.1, -0.9, 0.35), DOWN),
            "crouch": even(0, 0.15, 0),
        },
    ),
    Action(
        "kick_back",
        "train",
        {
            "right_foot": even(FOOT, (0.1, -0.7, -0.6), FOOT),
            "bend": even(0, 20, 0),
            **both(even(DOWN, LOW, DOWN)),
        },
        repeats=True,
    ),
    Action(
        "stand_on_one_leg",
        "train",
        {
            "left_foot": timed((0, FOOT), (0.4, KNEE_UP), (1, KNEE_UP)),
            **both(timed((0, DOWN), (0.4, SIDE), (1, SIDE))),
        },
    ),
    Action(
        "row",
        "val",
        {**both(even((0.1, -0.2, 0.9), (0.25, -0.3, 0.15), (0.1, -0.2, 0.9))), "bend": even(30, -12, 30)},
        repeats=True,
    ),
    Action(
        "saw",
        "test",
        {"right_hand": even((0.0, -0.55, 0.8), (0.15, -0.6, -0.25), (0.0, -0.55, 0.8)), "bend": even(20, 20)},
        repeats=True,
    ),
    Action(
        "drum",
        "test",
        {
            "right_hand": even((0.1, 0.3, 0.7), (0.1, -0.45, 0.65), (0.1, 0.3, 0.7)),
            "left_hand": even((0.1, -0.45, 0.65), (0.1, 0.3, 0.7), (0.1, -0.45, 0.65)),
        },
        repeats=True,
    ),
    Action(
        "salute",
        "val",
        {"right_hand": timed((0, DOWN), (0.35, (0.05, 0.42, 0.2)), (0.7, (0.05, 0.42, 0.2)), (1, DOWN))},
    ),
    Action(
        "hands_on_head", "test", both(timed((0, DOWN), (0.45, (-0.05, 0.62, 0.1)), (1, (-0.05, 0.62, 0.1))))
    ),
    Action(
        "step_sideways",
        "val",
        {
            "shift": even(0, 0.35, 0),
            "right_foot": even(FOOT, (0.4, -0.9, 0), FOOT, FOOT, FOOT),
            "left_foot": even(FOOT, FOOT, FOOT, (0.4, -0.9, 0), FOOT),
        },
    ),
    Action(
        "lunge",
        "train",
        {
            "right_foot": timed((0, FOOT), (0.5, (0.05, -0.97, 0.6)), (1, FOOT)),
            "left_foot": timed((0, FOOT), (0.5, (0.05, -0.97, -0.6)), (1, FOOT)),
            "crouch": even(0, 0.2, 0),
        },
    ),
    Action(
        "swing_arms",
        "test",
        {
            "right_hand": even((0.1, -0.6, 0.75), (0.15, -0.75, -0.6), (0.1, -0.6, 0.75)),
            "left_hand": even((0.15, -0.75, -0.6), (0.1, -0.6, 0.75), (0.15, -0.75, -0.6)),
        },
        repeats=True,
    ),
)

_VAL: Sequence[Action] = (
    Action("push", "val", _PUSH),
    Action("pull", "val", backwards(_PUSH)),
    Action("bow_slowly_rise_quickly", "val", _BOW_SLOW),
    Action("bow_quickly_rise_slowly", "val", backwards(_BOW_SLOW)),
    Action("wave_high", "val", {"right_hand": even(UP, (0.75, 0.6, 0.1), UP)}, repeats=True),
    Action("hammer", "val", {"right_hand": even(UP, (0.05, -0.35, 0.75), UP)}, repeats=True),
    Action(
        "kick_forwards",
        "val",
        {
            "right_foot": timed((0, FOOT), (0.2, (0.05, -0.8, -0.35)), (0.55, (0.0, -0.55, 0.8)), (1, FOOT)),
            **both(even(DOWN, (0.6, -0.7, 0.1), DOWN)),
        },
    ),
    Action(
        "raise_arms_in_turns",
        "val",
        {
            "right_hand": even(DOWN, SIDE, UP, SIDE, DOWN, DOWN, DOWN, DOWN, DOWN),
            "left_hand": even(DOWN, DOWN, DOWN, DOWN, DOWN, SIDE, UP, SIDE, DOWN),
        },
    ),
)

_TEST: Sequence[Action] = (
    Action("lift_to_shelf", "test", _LIFT),
    Action("take_from_shelf", "test", backwards(_LIFT)),
    Action("raise_slowly_drop_quickly", "test", _SLOW_UP_QUICK_DOWN),
    Action("raise_quickly_lower_slowly", "test", backwards(_SLOW_UP_QUICK_DOWN)),
    Action("draw_circle_out", "test", {"right_hand": circle(_RING, 0.6, "front", 270, 1)}, repeats=True),
    Action("draw_circle_in", "test", {"right_hand": circle(_RING, 0.6, "front", 270, -1)}, repeats=True),
    Action(
        "kick_sideways",
        "test",
        {
            "right_foot": even(FOOT, (0.8, -0.55, 0.05), FOOT),
            "lean": even(0, -15, 0),
            "left_hand": even(DOWN, (0.7, -0.65, 0.1), DOWN),
        },
        repeats=True,
    ),
    Action(
        "march",
        "test",
        {
            "right_foot": timed((0, FOOT), (0.25, KNEE_UP), (0.5, FOOT), (1, FOOT)),
            "left_foot": timed((0, FOOT), (0.5, FOOT), (0.75, KNEE_UP), (1, FOOT)),
            "left_hand": timed((0, DOWN), (0.25, LOW), (0.5, DOWN), (1, DOWN)),
            "right_hand": timed((0, DOWN), (0.5, DOWN), (0.75, LOW), (1, DOWN)),
        },
        repeats=True,
    ),
)

ACTIONS: Sequence[Action] = (*_TRAIN, *_VAL, *_TEST)

#: Pairs of classes that begin in the same pose, so their first frames cannot tell them apart.
SAME_START: Sequence[tuple[str, str]] = (
    ("raise_arm_sideways", "raise_arm_forwards"),
    ("raise_arm_sideways", "raise_both_arms"),
    ("bow", "squat"),
    ("throw_overhand", "salute"),
    ("lower_arm_sideways", "wave_high"),
    ("wave_high", "hammer"),
    ("punch_once", "push"),
    ("bow_slowly_rise_quickly", "bow_quickly_rise_slowly"),
    ("raise_slowly_drop_quickly", "raise_quickly_lower_slowly"),
    ("draw_circle_out", "draw_circle_in"),
    ("march", "kick_sideways"),
)
