"""Pictures of one toy clip: RGB, true optical flow, depth, and the skeleton's bones.

Limbs are capsules: a straight axis between two joints and a radius. A z-buffer says which limb a pixel shows;
the flow follows that limb's own point (its place along the axis and its offset from it) into the next frame, so
it is exact and not an estimate. RGB alone gets a textured ground, clutter, moving distractors, weak contrast
and sensor noise; how much of them is one number, `clutter`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from litemkd.data.toy.motion import BONES, DISTANCE, RADII, Shot
from litemkd.modalities.flow import encode_flow, flow_bound
from litemkd.modalities.skeleton import draw_skeleton

Array = NDArray[np.float32]
Pictures = NDArray[np.uint8]

# Depth picture: metres from the camera that give white and the darkest grey of the puppet.
_NEAR, _FAR = DISTANCE - 1.0, DISTANCE + 1.0


@dataclass(frozen=True)
class Surface:
    """What each pixel of the puppet shows.

    Attributes:
        bone: (T, H, W) number of the nearest bone, -1 for the ground.
        depth: (T, H, W) metres from the camera, infinite for the ground.
        cover: (T, H, W) how much of the pixel the puppet covers, 0 to 1 (soft at the outline).
    """

    bone: NDArray[np.int8]
    depth: Array
    cover: Array


def _ends(shot: Shot) -> tuple[Array, Array, Array]:
    """Axes (T, B, 2, 2) and radii (T, B, 2) in pixels and depths (T, B, 2) in metres of both capsule ends."""
    bones = np.array(BONES)
    depth = shot.joints[:, bones, 2]
    radius = np.array(RADII, np.float32)[:, None] * shot.focal / depth
    return shot.pixels[:, bones], radius.astype(np.float32), depth


def surfaces(shot: Shot, size: int) -> Surface:
    """Which bone each pixel shows in each frame, how far away it is, and how much of the pixel it covers."""
    axis, radius, depth = _ends(shot)
    frames = len(axis)
    bone = np.full((frames, size, size), -1, np.int8)
    nearest = np.full((frames, size, size), np.inf, np.float32)
    cover = np.zeros((frames, size, size), np.float32)
    for b in range(len(BONES)):
        # All frames at once, inside the box that holds this bone in every frame.
        reach = radius[:, b].max() + 1.0
        low = np.clip(np.floor(axis[:, b].min((0, 1)) - reach), 0, size - 1).astype(int)
        high = np.clip(np.ceil(axis[:, b].max((0, 1)) + reach) + 1, 1, size).astype(int)
        box = (slice(None), slice(low[1], high[1]), slice(low[0], high[0]))
        x = np.arange(low[0], high[0], dtype=np.float32)[None, None, :]
        y = np.arange(low[1], high[1], dtype=np.float32)[None, :, None]
        ax, ay = axis[:, b, 0, 0, None, None], axis[:, b, 0, 1, None, None]
        ux, uy = axis[:, b, 1, 0, None, None] - ax, axis[:, b, 1, 1, None, None] - ay
        dx, dy = x - ax, y - ay
        s = np.clip((dx * ux + dy * uy) / np.maximum(ux * ux + uy * uy, 1e-6), 0.0, 1.0)
        r = radius[:, b, 0, None, None] + s * (radius[:, b, 1] - radius[:, b, 0])[:, None, None]
        ratio = np.sqrt((dx - s * ux) ** 2 + (dy - s * uy) ** 2) / r
        here = np.clip((1.0 - ratio) * r + 0.5, 0.0, 1.0)
        z = depth[:, b, 0, None, None] + s * (depth[:, b, 1] - depth[:, b, 0])[:, None, None]
        z = z - RADII[b] * np.sqrt(np.maximum(1.0 - ratio * ratio, 0.0))
        # Soft outline pixels take the colour of the bone that covers most of them, if no bone fills them.
        solid = here >= 0.5
        front = np.where(solid, z < nearest[box], (here > cover[box]) & np.isinf(nearest[box]))
        nearest[box] = np.where(solid & front, z, nearest[box])
        bone[box] = np.where(front, np.int8(b), bone[box])
        np.maximum(cover[box], here, out=cover[box])
    return Surface(bone, nearest, cover)


def true_flow(shot: Shot, surface: Surface) -> Array:
    """Displacement (T, H, W, 2) in pixels of each puppet point to the next frame; the ground is 0.

    A point keeps its share along its bone's axis; its offset from the axis turns with the axis and grows with
    the radius. A bone that points at the camera has no steady axis in the picture, so its offsets turn less.
    The last frame has no next one: it shows the movement from the frame before, at the places of now.
    """
    axis, radius, _ = _ends(shot)
    frames = len(axis)
    flow = np.zeros((*surface.bone.shape, 2), np.float32)
    t, y, x = np.nonzero(np.isfinite(surface.depth))
    b = surface.bone[t, y, x]
    then = np.where(t + 1 < frames, t + 1, t - 1)
    a0, u0 = axis[t, b, 0], axis[t, b, 1] - axis[t, b, 0]
    a1, u1 = axis[then, b, 0], axis[then, b, 1] - axis[then, b, 0]
    point = np.stack([x, y], axis=1).astype(np.float32)
    s = np.clip(((point - a0) * u0).sum(1) / np.maximum((u0 * u0).sum(1), 1e-6), 0.0, 1.0)[:, None]
    offset = point - a0 - s * u0
    r0, r1 = (radius[i, b, :1] + s * (radius[i, b, 1:] - radius[i, b, :1]) for i in (t, then))
    cross, dot = u0[:, 0] * u1[:, 1] - u0[:, 1] * u1[:, 0], (u0 * u1).sum(1)
    shortest = np.sqrt(np.minimum((u0 * u0).sum(1), (u1 * u1).sum(1)))
    angle = np.arctan2(cross, dot) * np.minimum(shortest / (2.0 * r0[:, 0]), 1.0)
    c, n = np.cos(angle), np.sin(angle)
    turned = np.stack([c * offset[:, 0] - n * offset[:, 1], n * offset[:, 0] + c * offset[:, 1]], axis=1)
    moved = a1 + s * u1 + turned * r1 / r0 - point
    flow[t, y, x] = np.where((t + 1 < frames)[:, None], moved, -moved)
    return flow


def flow_pictures(shot: Shot, surface: Surface) -> Pictures:
    """The true flow as pictures (T, H, W, 3), in the same range as computed flow of pictures of this size."""
    return np.asarray(encode_flow(true_flow(shot, surface), flow_bound(surface.bone.shape[1])))


def depth_pictures(surface: Surface) -> Pictures:
    """Distance as grey pictures (T, H, W, 3), like a depth camera's: near is bright, no reading is 0."""
    nearness = np.clip((_FAR - surface.depth) / (_FAR - _NEAR), 0.0, 1.0)
    grey = np.where(np.isfinite(surface.depth), 40.0 + 215.0 * nearness, 0.0)
    return np.repeat(np.round(grey).astype(np.uint8)[..., None], 3, axis=3)


def skeleton_pictures(shot: Shot, size: int) -> Pictures:
    """Bones in fixed colours on black (T, H, W, 3)."""
    return np.stack([draw_skeleton(points, BONES, (size, size)) for points in shot.pixels])


def _noise(rng: np.random.Generator, size: int) -> Array:
    """A smooth random texture (size, size, 3), mean 0, built from several scales."""
    texture = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((2, 1.0), (5, 0.7), (11, 0.5), (24, 0.35)):
        grid = rng.normal(0.0, strength, (cells + 2, cells + 2, 3)).astype(np.float32)
        texture += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return texture


def _shape(picture: Array, place: NDArray[np.float64], turn: float, colour: Array, kind: int) -> None:
    """Draw one bar (kind 0) or disc onto `picture` in place; `place` in pixels."""
    size = picture.shape[0]
    tint = tuple(float(v) for v in colour)
    x, y = float(place[0]), float(place[1])
    if kind == 0:
        half = 0.11 * size
        dx, dy = half * np.cos(turn), half * np.sin(turn)
        ends = [(round((x - dx) * 8), round((y - dy) * 8)), (round((x + dx) * 8), round((y + dy) * 8))]
        cv2.line(picture, ends[0], ends[1], tint, max(2, round(0.06 * size)), cv2.LINE_AA, 3)
    else:
        cv2.circle(picture, (round(x * 8), round(y * 8)), round(0.06 * size * 8), tint, -1, cv2.LINE_AA, 3)


def _ground(rng: np.random.Generator, size: int, clutter: float, tints: Array) -> Array:
    """A textured ground (size, size, 3) with bars and discs in the colours `tints`, values about 0 to 1."""
    texture = _noise(rng, size)
    base = rng.uniform(0.25, 0.75, 3)
    picture = np.ascontiguousarray(base + texture * (0.03 + 0.12 * clutter), dtype=np.float32)
    for _ in range(round(clutter * rng.uniform(8, 18))):
        colour = tints[rng.integers(len(tints))] + rng.normal(0, 0.04, 3).astype(np.float32)
        _shape(picture, rng.uniform(0, size, 2), rng.uniform(0, np.pi), colour, int(rng.integers(2)))
    return picture


def rgb_pictures(surface: Surface, rng: np.random.Generator, clutter: float) -> Pictures:
    """The puppet as a camera would film it (T, H, W, 3), `clutter` 0 (plain) to 1 (hard to make out).

    Colours of limbs, ground and shapes come from one draw that knows nothing of the class. Distractors move by
    themselves, before or behind the puppet; they are in no other modality.
    """
    frames, size = surface.bone.shape[:2]
    margin = size // 6
    # With little clutter the puppet is one light figure on a dark ground. With more of it the two come nearer,
    # the limbs differ in colour, and more of them are darker than the ground.
    middle = rng.uniform(0.15, 0.4, 3) + 0.2 * clutter * rng.random()
    contrast = 0.4 * (1.0 - clutter * rng.uniform(0.3, 0.95))
    signs = np.where(rng.random((len(BONES), 3)) < 0.5 * clutter, -1.0, 1.0)
    limbs = rng.normal(0.0, 0.04 + 0.16 * clutter, (len(BONES), 3))
    tints = np.asarray(np.clip(middle + contrast * signs + limbs, 0, 1), np.float32)
    ground = _ground(rng, size + 2 * margin, clutter, tints)
    ground += (middle - ground.mean((0, 1))).astype(np.float32)
    clock = [t / (frames - 1) for t in range(frames)]
    pan = rng.uniform(-1, 1, 2) * margin * 0.8 * clutter
    movers = [_Mover(rng, size, tints) for _ in range(round(4 * clutter))]
    gain = np.asarray(rng.uniform(0.8, 1.2) + rng.normal(0, 0.05 * clutter, frames))
    bias = rng.uniform(-0.08, 0.08)
    pictures = np.empty((frames, size, size, 3), np.float32)
    for t in range(frames):
        dx, dy = pan * (clock[t] - 0.5) + margin
        shift = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
        picture = np.asarray(cv2.warpAffine(ground, shift, (size, size), flags=cv2.INTER_LINEAR), np.float32)
        for mover in movers:
            if mover.behind:
                mover.draw(picture, clock[t])
        cover = surface.cover[t, :, :, None]
        picture += cover * (tints[surface.bone[t]] - picture)
        for mover in movers:
            if not mover.behind:
                mover.draw(picture, clock[t])
        pictures[t] = picture * gain[t] + bias
    noise = rng.standard_normal(pictures.shape, dtype=np.float32) * (0.008 + 0.035 * clutter)
    return np.asarray(np.clip((pictures + noise) * 255.0 + 0.5, 0, 255)).astype(np.uint8)


class _Mover:
    """A distractor: a bar or disc that swings or drifts by itself."""

    def __init__(self, rng: np.random.Generator, size: int, tints: Array) -> None:
        self.behind = bool(rng.random() < 0.6)
        self.colour = tints[rng.integers(len(tints))]
        self.kind = int(rng.integers(2))
        self.place = rng.uniform(0.1, 0.9, 2) * size
        self.swing = rng.normal(0, 0.14, 2) * size
        self.drift = rng.normal(0, 0.2, 2) * size
        self.rhythm, self.phase = rng.uniform(0.5, 2.5), rng.uniform(0, 1)
        self.turn, self.spin = rng.uniform(0, np.pi), rng.normal(0, 2.0)

    def draw(self, picture: Array, moment: float) -> None:
        wave = np.sin(2 * np.pi * (self.rhythm * moment + self.phase))
        place = self.place + self.drift * (moment - 0.5) + self.swing * wave
        _shape(picture, place, self.turn + self.spin * moment, self.colour, self.kind)
