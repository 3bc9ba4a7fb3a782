"""Skeleton pictures: joints drawn as coloured bones on black.

A bone has the same colour in every picture (its place in the list gives the hue), so a network can tell a left
arm from a right one. A clip of joints in any unit (metres, millimetres, pixels) is first moved and scaled so
that the whole movement fits the picture: where the camera stood does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from litemkd.errors import DataError
from litemkd.modalities.alphapose import read_alphapose
from litemkd.modalities.files import made_size
from litemkd.modalities.layouts import LAYOUTS, Bones, layout_of
from litemkd.modalities.record import Estimated, Imported, Modality
from litemkd.recordings.times import in_proportion, same_recording, sample_times
from litemkd.recordings.videos import count_frames, video_size
from litemkd.storage.arrays import read_array

ALPHAPOSE_FILE = "alphapose-results.json"
MARGIN = 0.1  # of a picture of joints: share of the shorter side left empty on each side


def bone_colours(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB: hues evenly round the circle, the brightness alternating between neighbours."""
    hsv = np.full((1, count, 3), 255, np.uint8)
    hsv[0, :, 0] = np.arange(count) * 180 // max(count, 1)
    hsv[0, 1::2, 2] = 190
    colours: np.ndarray = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]
    return colours


def draw_skeleton(
    points: np.ndarray, bones: Bones, size: tuple[int, int], visible: np.ndarray | None = None
) -> np.ndarray:
    """One picture of a skeleton.

    Args:
        points: (J, 2) float, x and y in pixels, y downwards; a point may lie outside the picture.
        bones: pairs of joint numbers; the place in the list decides the colour.
        size: (H, W) of the picture.
        visible: (J,) bool; a bone is drawn when both of its ends are visible. None: all are.

    Returns:
        (H, W, 3) uint8 RGB on black, lines antialiased and about 1/64 of the shorter side thick.

    Raises:
        DataError: wrong shapes, a bone to a joint that is not there, or a visible point that is not a number.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise DataError(f"points of a skeleton have shape {points.shape}; (J, 2) is needed")
    shown = np.ones(len(points), bool) if visible is None else np.asarray(visible, bool)
    if shown.shape != (len(points),):
        raise DataError(f"visibility has shape {shown.shape} for {len(points)} joints")
    if not np.isfinite(points[shown]).all():
        raise DataError("a visible joint has a position that is not a number")
    if bones and not 0 <= min(map(min, bones)) <= max(map(max, bones)) < len(points):
        raise DataError(f"bones name joint {max(map(max, bones))}, but there are {len(points)} joints (from 0)")
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    thickness = max(1, round(min(height, width) / 64))
    # Lines end at sixteenths of a pixel (shift 4), so a slow movement is not rounded away.
    fixed = np.rint(np.clip(np.where(shown[:, None], points, 0.0), -1e5, 1e5) * 16).astype(int)
    for (i, j), colour in zip(bones, bone_colours(len(bones)).tolist(), strict=True):
        if shown[i] and shown[j]:
            cv2.line(picture, fixed[i].tolist(), fixed[j].tolist(), colour, thickness, cv2.LINE_AA, 4)
    return picture


def draw_people(people: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """People where they stand, one picture.

    Args:
        people: one (17, 3) array each, joints in COCO's order: x, y in pixels of the picture, and whether it
            is shown (above 0). The first one lies on top.
        size: (H, W) of the picture.

    Returns:
        (H, W, 3) uint8 RGB, bones in fixed colours on black; black without people.
    """
    picture = np.zeros((*size, 3), np.uint8)
    for joints in reversed(people):
        one = draw_skeleton(joints[:, :2], LAYOUTS["coco17"].bones, size, joints[:, 2] > 0)
        picture = np.where(one.any(-1, keepdims=True), one, picture)
    return picture


def render_joints(joints: np.ndarray, bones: Bones, size: tuple[int, int]) -> np.ndarray:
    """Pictures of a clip of joints, seen from the front, in one place and scale for the whole clip.

    The box around all joints of all frames is put in the middle of the picture and scaled, equally in x and y,
    to fill it up to the margin. A joint at exactly (0, 0, 0) is how sensors store one that was not found: it is
    not drawn, and a frame without any body is black.

    Args:
        joints: (T, J, 3 or 4) float: x, y (upwards), z and perhaps a confidence, in any unit.
        bones: pairs of joint numbers, see `litemkd.modalities.layouts`.
        size: (H, W) of the pictures.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        DataError: a wrong shape, values that are not numbers, or a clip in which no frame has a body.
    """
    joints = np.asarray(joints)
    if joints.ndim != 3 or joints.shape[2] not in (3, 4) or 0 in joints.shape:
        raise DataError(f"joints have shape {joints.shape}; (frames, joints, 3 or 4) is needed")
    if not np.issubdtype(joints.dtype, np.number) or not np.isfinite(joints).all():
        raise DataError("joints have values that are not numbers (NaN or infinite)")
    shown = (joints[..., :3] != 0).any(-1)
    if not shown.any():
        raise DataError(f"no body was found in any of the {len(joints)} frames (all joints are zero or hidden)")
    flat = joints[..., :2].astype(np.float64) * (1.0, -1.0)
    low, high = flat[shown].min(0), flat[shown].max(0)
    height, width = size
    extent = max(high[0] - low[0], high[1] - low[1]) or 1.0
    scale = min(height, width) * (1.0 - 2.0 * MARGIN) / extent
    pixels = (flat - (low + high) / 2.0) * scale + ((width - 1) / 2.0, (height - 1) / 2.0)
    return np.stack([draw_skeleton(p, bones, size, v) for p, v in zip(pixels, shown, strict=True)])


def joint_times(n_joints: int, n_video: int | None, T: int) -> np.ndarray:
    """Which frames of the joints go with the sampled frames of the video, (T,) int64.

    The joints may have been taken at another rate: their times are the video's in proportion. None: no video.

    Raises:
        DataError: fewer than T frames of joints, or far from the video's number: not of the same recording.
    """
    if n_joints < T:
        raise DataError(f"it has {n_joints} frames of joints; {T} are needed")
    if n_video is None or n_video == n_joints:
        return sample_times(n_joints, T)
    if not same_recording(n_joints, n_video):
        raise DataError(f"it has {n_joints} frames of joints, but its video has {n_video}: not one recording")
    return in_proportion(sample_times(n_video, T), n_joints, n_video)


def joint_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of joints (.npy), (T, side, side, 3) uint8; see `render_joints`."""
    joints = read_array(source)
    if joints.ndim != 3:
        raise DataError(f"{source} has shape {joints.shape}; (frames, joints, 3 or 4) is needed")
    times = joint_times(len(joints), count_frames(video) if video else None, T)
    return render_joints(joints[times], layout_of(joints.shape[1]).bones, (short_side, short_side))


def people_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the people in AlphaPose's results, (T, H, W, 3) uint8, of the size of the video's frames."""
    if video is None:
        raise DataError(f"{source} has no video; positions in it have no meaning without the video's size")
    n, height, width = video_size(video)
    if n < T:
        raise DataError(f"{video} has {n} frames; {T} are needed")
    people = read_alphapose(source / ALPHAPOSE_FILE if source.is_dir() else source, n)
    size = made_size(video, (height, width), short_side)
    scale = np.array([size[1] / width, size[0] / height, 1.0], np.float32)
    return np.stack(
        [draw_people([one * scale for one in people[t]], size) for t in sample_times(n, T).tolist()]
    )


def _keypoints() -> type[Any]:
    from litemkd.modalities.keypoints import KeypointRcnn

    return KeypointRcnn


class Skeleton(Modality):
    """Bones as coloured lines on black. Left and right of a body are told apart by colour, also in a mirror."""

    ways = (
        Imported(
            "joints", "bones drawn from joint positions", joint_frames, "skeleton_joints", suffixes=(".npy",)
        ),
        Estimated("keypoint_rcnn", "Keypoint R-CNN", "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1", _keypoints),
        Imported(
            "alphapose",
            "results of AlphaPose",
            people_frames,
            "alphapose",
            suffixes=(".json",),
            folders=True,
            needs_videos=True,
        ),
    )
    usual = "keypoint_rcnn"
    asked = True
