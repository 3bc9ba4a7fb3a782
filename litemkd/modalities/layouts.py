"""Layouts of joints: which joint of a body each number is, and which bones tie them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from litemkd.errors import DataError

Bones = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Layout:
    """How a sensor or program numbers the joints of a body.

    Attributes:
        name: as settings give it.
        bones: pairs of joints; together they tie all joints to one another.
        pairs: joints that change places in a mirror.
        hips: the joints whose mean is the middle of the body.
        shoulders: their mean and the middle make the trunk, whose length is the size of a body.
        down: whether y grows downwards, as in pictures, and not upwards.
        flat: whether three numbers a joint are x, y and a confidence, and not x, y and z.
    """

    name: str
    bones: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    hips: tuple[int, ...]
    shoulders: tuple[int, ...]
    down: bool = False
    flat: bool = False

    @property
    def joints(self) -> int:
        """J."""
        return 1 + max(map(max, self.bones))

    @property
    def mirrored(self) -> np.ndarray:
        """(J,) int64: the joint that stands in the place of each in a mirror."""
        places = np.arange(self.joints)
        for one, other in self.pairs:
            places[[one, other]] = other, one
        return places

    @property
    def parents(self) -> np.ndarray:
        """(J,) int64: the neighbour of each joint on the shortest way to the hips; hips have themselves."""
        parents = np.arange(self.joints)
        seen, waiting = set(self.hips), deque(self.hips)
        while waiting:
            here = waiting.popleft()
            for there in self._neighbours(here):
                if there not in seen:
                    seen.add(there)
                    parents[there] = here
                    waiting.append(there)
        return parents

    @property
    def hops(self) -> np.ndarray:
        """(J, J) int64: bones between two joints."""
        found = np.full((self.joints, self.joints), -1)
        for start in range(self.joints):
            found[start, start] = 0
            waiting = deque([start])
            while waiting:
                here = waiting.popleft()
                for there in self._neighbours(here):
                    if found[start, there] < 0:
                        found[start, there] = found[start, here] + 1
                        waiting.append(there)
        return found

    def _neighbours(self, joint: int) -> list[int]:
        return sorted({sum(bone) - joint for bone in self.bones if joint in bone})


# Microsoft Kinect v1 as MSR-Action3D stores it: 0 / 1 shoulders, 2 neck, 3 spine, 4 / 5 hips, 6 hip centre,
# 7 / 8 elbows, 9 / 10 wrists, 11 / 12 hands, 13 / 14 knees, 15 / 16 ankles, 17 / 18 feet, 19 head; the first of
# a pair is the one on the left of the picture when the person faces the camera.
_KINECT20 = Layout(
    "kinect20",
    bones=(
        *((19, 2), (2, 3), (3, 6)),
        *((2, 0), (0, 7), (7, 9), (9, 11)),
        *((2, 1), (1, 8), (8, 10), (10, 12)),
        *((6, 4), (4, 13), (13, 15), (15, 17)),
        *((6, 5), (5, 14), (14, 16), (16, 18)),
    ),
    pairs=((0, 1), (4, 5), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 18)),
    hips=(6,),
    shoulders=(2,),
)
# Kinect v2 as NTU RGB+D stores it: 0 base of the spine, 1 its middle, 20 its top, 2 neck, 3 head; 4 to 7, 21
# and 22 left arm from the shoulder to the tip of the hand and the thumb, 8 to 11, 23 and 24 the right one;
# 12 to 15 left leg from the hip to the foot, 16 to 19 the right one.
_NTU25 = Layout(
    "ntu25",
    bones=(
        *((3, 2), (2, 20), (20, 1), (1, 0)),
        *((20, 8), (8, 9), (9, 10), (10, 11), (11, 24), (24, 23)),
        *((20, 4), (4, 5), (5, 6), (6, 7), (7, 22), (22, 21)),
        *((0, 16), (16, 17), (17, 18), (18, 19)),
        *((0, 12), (12, 13), (13, 14), (14, 15)),
    ),
    pairs=(
        *((4, 8), (5, 9), (6, 10), (7, 11), (21, 23), (22, 24)),
        *((12, 16), (13, 17), (14, 18), (15, 19)),
    ),
    hips=(0,),
    shoulders=(20,),
)
# COCO keypoints: 0 nose, 1 / 2 eyes, 3 / 4 ears, 5 / 6 shoulders, 7 / 8 elbows, 9 / 10 wrists, 11 / 12 hips,
# 13 / 14 knees, 15 / 16 ankles (left / right).
_COCO17 = Layout(
    "coco17",
    bones=(
        *((0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 6), (11, 12)),
        *((6, 8), (8, 10), (5, 7), (7, 9)),
        *((6, 12), (12, 14), (14, 16), (5, 11), (11, 13), (13, 15)),
    ),
    pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    hips=(11, 12),
    shoulders=(5, 6),
    down=True,
    flat=True,
)
# MediaPipe's pose landmarks: 0 nose, 1 to 3 left eye from the nose outwards, 4 to 6 the right one, 7 / 8 ears,
# 9 / 10 mouth, 11 / 12 shoulders, 13 / 14 elbows, 15 / 16 wrists, 17 / 18 little fingers, 19 / 20 forefingers,
# 21 / 22 thumbs, 23 / 24 hips, 25 / 26 knees, 27 / 28 ankles, 29 / 30 heels, 31 / 32 tips of the feet.
_MEDIAPIPE33 = Layout(
    "mediapipe33",
    bones=(
        *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (0, 9), (0, 10), (9, 10)),
        *((0, 11), (0, 12), (11, 12), (23, 24), (11, 23), (12, 24)),
        *((11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19)),
        *((12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20)),
        *((23, 25), (25, 27), (27, 29), (29, 31), (27, 31)),
        *((24, 26), (26, 28), (28, 30), (30, 32), (28, 32)),
    ),
    pairs=(
        *((1, 4), (2, 5), (3, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 18), (19, 20)),
        *((21, 22), (23, 24), (25, 26), (27, 28), (29, 30), (31, 32)),
    ),
    hips=(23, 24),
    shoulders=(11, 12),
    down=True,
)
# Human3.6M's 17 as networks that lift poses to 3-D give them: 0 hip centre, 1 to 3 right leg from the hip to
# the ankle, 4 to 6 the left one, 7 spine, 8 thorax, 9 neck, 10 head, 11 to 13 left arm from the shoulder to the
# wrist, 14 to 16 the right one.
_H36M17 = Layout(
    "h36m17",
    bones=(
        *((0, 7), (7, 8), (8, 9), (9, 10)),
        *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6)),
        *((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)),
    ),
    pairs=((1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16)),
    hips=(0,),
    shoulders=(8,),
    down=True,
)
LAYOUTS = {one.name: one for one in (_KINECT20, _NTU25, _COCO17, _MEDIAPIPE33, _H36M17)}
LayoutName = Literal["kinect20", "ntu25", "coco17", "mediapipe33", "h36m17"]


def layout_of(joints: int) -> Layout:
    """The layout with that number of joints; of several the first, so that of 17 it is COCO's.

    Raises:
        DataError: there is none.
    """
    for layout in LAYOUTS.values():
        if layout.joints == joints:
            return layout
    known = ", ".join(f"{one.name} ({one.joints} joints)" for one in LAYOUTS.values())
    raise DataError(f"no bone layout is known for {joints} joints; known: {known}")
