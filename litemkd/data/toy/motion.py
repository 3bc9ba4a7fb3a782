"""The toy puppet: body, camera, and an action turned into joint positions.

Hands and feet follow their tracks; elbows and knees are found from them (two bones with given ends bend in one
plane). What varies from clip to clip inside a class is drawn here: proportions, timing, size of the movement,
restlessness of the other limbs, view, place and drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litemkd.data.toy.actions import REST, Action, Track

Array = NDArray[np.float32]

#: The puppet's joints, in the order of `skeleton_joints` files.
JOINTS = (
    "pelvis", "neck", "head",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
#: Bones as pairs of joint numbers; each is drawn as one capsule.
BONES = (
    (0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (1, 6), (6, 7), (7, 8),
    (0, 9), (9, 10), (10, 11), (0, 12), (12, 13), (13, 14),
)  # fmt: skip
#: Radius of each bone's capsule in metres.
RADII = (0.15, 0.13, 0.08, 0.075, 0.065, 0.08, 0.075, 0.065, 0.1, 0.09, 0.075, 0.1, 0.09, 0.075)
#: Metres from the camera to the place where the puppet stands.
DISTANCE = 5.0
# Metres that fit into the picture's height at that distance: arms stretched up, a jump, and some margin.
_FIELD = 2.5


@dataclass(frozen=True)
class Shot:
    """One clip's puppet, seen by the camera.

    Attributes:
        joints: (T, J, 3) metres before the camera: x to the right, y up, z away from the camera.
        pixels: (T, J, 2) x and y in the picture; pixel centres are at whole numbers.
        focal: pixels per metre at one metre's distance.
    """

    joints: Array
    pixels: Array
    focal: float


def _follow(track: Track, moments: NDArray[np.float64], repeats: bool) -> NDArray[np.float64]:
    """The track's value (T, C) at `moments` (T,): smooth, at rest only where the track turns or ends."""
    keys = np.array([key for key, _ in track])
    values = np.array([value for _, value in track], dtype=np.float64)
    # Slopes after Catmull and Rom; a track that repeats goes on at the same speed.
    slopes = np.zeros_like(values)
    slopes[1:-1] = (values[2:] - values[:-2]) / (keys[2:] - keys[:-2])[:, None]
    if repeats and len(track) > 2:
        slopes[[0, -1]] = (values[1] - values[-2]) / (keys[1] - keys[0] + keys[-1] - keys[-2])
    left = np.clip(np.searchsorted(keys, moments, side="right") - 1, 0, len(keys) - 2)
    span = (keys[left + 1] - keys[left])[:, None]
    w = (moments[:, None] - keys[left][:, None]) / span
    value = (2 * w**3 - 3 * w**2 + 1) * values[left] + (3 * w**2 - 2 * w**3) * values[left + 1]
    slope = (w**3 - 2 * w**2 + w) * slopes[left] + (w**3 - w**2) * slopes[left + 1]
    return np.asarray(value + span * slope)


def pose_curves(
    action: Action, rng: np.random.Generator, frames: int, restlessness: float = 1.0
) -> dict[str, NDArray[np.float64]]:
    """Every channel's course (T, C) in one performance of `action`: timing, size and restlessness vary."""
    clock = np.arange(frames) / (frames - 1)
    # The same draws for every action, so that one generator gives the same puppet whatever it does.
    begin, pace, bias = rng.uniform(0.0, 0.14), rng.uniform(0.0, 1.0), rng.uniform(0.85, 1.18)
    if action.repeats:
        rounds = np.maximum(clock - begin, 0.0) * (1.6 + 0.9 * pace)
        moments = np.where(rounds > 0, rounds % 1.0, 0.0)
    else:
        moments = np.clip((clock - begin) / (0.66 + 0.2 * pace), 0.0, 1.0) ** bias
    size = rng.uniform(0.82, 1.1)
    curves = {}
    for channel, rest in REST.items():
        track: Track = action.tracks.get(channel, ((0.0, rest), (1.0, rest)))
        value = _follow(track, moments, action.repeats)
        start = np.array(track[0][1])
        value = start + size * (value - start)
        curves[channel] = value + _restless(channel, rng, clock, restlessness)
    return curves


def _restless(
    channel: str, rng: np.random.Generator, clock: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Small slow movement (T, C) that has nothing to do with the action, and a small fixed deviation."""
    scale = {"hand": 0.09, "foot": 0.03, "bend": 5.0, "lean": 3.5, "twist": 6.0, "turn": 5.0, "crouch": 0.015}
    amount = strength * scale.get(channel.split("_")[-1], 0.0)
    width = len(REST[channel])
    waves = np.sin(2 * np.pi * (rng.uniform(0.3, 1.6, width) * clock[:, None] + rng.uniform(0, 1, width)))
    return np.asarray(amount * (rng.normal(0, 0.6, width) + rng.normal(0, 0.7, width) * waves))


def _turn(axis: int, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices (T, 3, 3) about axis 0 (x), 1 (y) or 2 (z)."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.zeros((len(degrees), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[:, axis, axis] = 1.0
    turn[:, i, i], turn[:, i, j], turn[:, j, i], turn[:, j, j] = c, -s, s, c
    return turn


def _apply(turn: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("tij,tj->ti", turn, np.broadcast_to(vectors, (len(turn), 3))))


def _limb(
    root: NDArray[np.float64], reach: NDArray[np.float64], upper: float, lower: float, pole: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and end joints (T, 3) of a limb from `root` to `root + reach`, bent to the side of `pole`."""
    length = np.linalg.norm(reach, axis=1, keepdims=True)
    along = reach / np.maximum(length, 1e-6)
    length = np.clip(length, 0.3 * (upper + lower), 0.999 * (upper + lower))
    cosine = (upper**2 + length**2 - lower**2) / (2 * upper * length)
    sideways = pole - (pole * along).sum(1, keepdims=True) * along
    sideways /= np.maximum(np.linalg.norm(sideways, axis=1, keepdims=True), 1e-6)
    sine = np.sqrt(np.clip(1 - cosine**2, 0, 1))
    return root + upper * (cosine * along + sine * sideways), root + length * along


def _body(curves: dict[str, NDArray[np.float64]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Joint positions (T, J, 3) in metres, ground at y = 0: x to the right, y up, z to the camera."""
    arm, leg, trunk = 0.74 * rng.uniform(0.9, 1.1), 0.82 * rng.uniform(0.93, 1.07), 0.52 * rng.uniform(0.9, 1.1)
    shoulder, hip, neck = 0.23 * rng.uniform(0.88, 1.15), 0.12 * rng.uniform(0.85, 1.2), rng.uniform(0.17, 0.22)
    frames = len(curves["bend"])
    scalar = {name: value[:, 0] for name, value in curves.items() if value.shape[1] == 1}
    whole = _turn(1, scalar["turn"])
    chest = whole @ _turn(1, scalar["twist"]) @ _turn(2, scalar["lean"]) @ _turn(0, scalar["bend"])
    joints = np.zeros((frames, len(JOINTS), 3))
    crouch = np.maximum(scalar["crouch"], 0.0)
    joints[:, 0, 0] = -scalar["shift"]
    joints[:, 0, 1] = leg * (0.99 - crouch) + np.maximum(scalar["jump"], 0.0) + 0.03
    joints[:, 1] = joints[:, 0] + _apply(chest, np.array([0.0, trunk, 0.0]))
    joints[:, 2] = joints[:, 1] + _apply(chest, np.array([0.0, neck, 0.03]))
    for side, sign, hand, foot in (("right", -1.0, 3, 9), ("left", 1.0, 6, 12)):
        outwards = np.array([sign, 1.0, 1.0])
        joints[:, hand] = joints[:, 1] + _apply(chest, np.array([sign * shoulder, -0.04, 0.0]))
        reach = _apply(chest, curves[f"{side}_hand"] * outwards * arm)
        pole = _apply(chest, np.array([0.4 * sign, -0.35, -0.85]))
        joints[:, hand + 1], joints[:, hand + 2] = _limb(joints[:, hand], reach, 0.5 * arm, 0.5 * arm, pole)
        joints[:, foot] = joints[:, 0] + _apply(whole, np.array([sign * hip, -0.02, 0.0]))
        step = curves[f"{side}_foot"].copy()
        step[:, 1] += crouch
        reach = _apply(whole, step * outwards * leg)
        pole = _apply(whole, np.array([0.15 * sign, 0.0, 1.0]))
        joints[:, foot + 1], joints[:, foot + 2] = _limb(joints[:, foot], reach, 0.5 * leg, 0.5 * leg, pole)
    return joints


def perform(
    action: Action, rng: np.random.Generator, frames: int, size: int, restlessness: float = 1.0
) -> Shot:
    """One performance of `action` in `frames` frames, seen in a square picture of `size` pixels."""
    curves = pose_curves(action, rng, frames, restlessness)
    joints = _body(curves, rng)
    scale = rng.uniform(0.84, 1.02)
    joints = joints - np.array([0.0, 1.05, 0.0])  # the middle of standing with raised arms
    view = _turn(0, np.full(frames, rng.uniform(-6.0, 12.0))) @ _turn(
        1, np.full(frames, rng.uniform(-25.0, 25.0))
    )
    joints = np.einsum("tij,tnj->tni", view, joints)
    drift = np.linspace(-0.5, 0.5, frames)[:, None] * rng.uniform(-0.12, 0.12, 3)
    joints = joints * scale + (rng.uniform(-1, 1, 3) * np.array([0.16, 0.06, 0.15]) + drift)[:, None, :]
    joints[..., 2] = DISTANCE - joints[..., 2]
    focal = size * DISTANCE / _FIELD
    middle = (size - 1) / 2
    pixels = joints[..., :2] * np.array([1.0, -1.0]) * focal / joints[..., 2:] + middle
    return Shot(joints.astype(np.float32), pixels.astype(np.float32), float(focal))
