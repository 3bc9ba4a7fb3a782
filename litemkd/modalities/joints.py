"""Joints of a body by frame, as numbers: what a sensor or a pose estimator found, made comparable.

A clip in any unit and at any place becomes one around its own middle, in lengths of its own trunk. Joints that
were not found are put where they were before and after.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from litemkd.errors import DataError
from litemkd.extending.declared import About
from litemkd.modalities.layouts import LAYOUTS, Layout, LayoutName, layout_of
from litemkd.modalities.record import Modality
from litemkd.modalities.skeleton import render_joints

SIDE = 96  # of a picture of joints on a contact sheet, pixels


def split_joints(values: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (F, J, 3) float64; which were found, (F, J) bool; how sure they are, (F, J) from 0 to 1.

    A joint at exactly 0 in all coordinates was not found: so sensors store it. In a layout of pictures neither
    was one of confidence 0; a depth sensor gives that to joints whose place it inferred.

    Args:
        values: (F, J, 2) x, y; (F, J, 3) x, y, z, or x, y and a confidence in a layout of pictures; (F, J, 4)
            x, y, z and a confidence.
        layout: of the joints.
    """
    flat = values.shape[2] == 2 or (values.shape[2] == 3 and layout.flat)
    axes = 2 if flat else 3
    places = np.zeros((*values.shape[:2], 3))
    places[..., :axes] = values[..., :axes]
    found = (places != 0).any(-1)
    sure = np.clip(values[..., axes], 0.0, 1.0) if values.shape[2] > axes else np.ones(values.shape[:2])
    if flat:
        found &= sure > 0
    return places, found, np.where(found, sure, 0.0)


def fill_missing(places: np.ndarray, found: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Places (F, J, 3) in which every joint is somewhere.

    One that is not found in some frames moves evenly from where it was to where it is next; before the first
    and after the last time it stands still. One that is never found is where its parent is.

    Args:
        places: (F, J, 3).
        found: (F, J) bool; at least the hips are found once.
        parents: (J,) the neighbour of each joint towards the hips, see `Layout.parents`.
    """
    filled, frames = places.copy(), np.arange(len(places))
    seen: np.ndarray = np.any(found, axis=0)
    for joint in np.flatnonzero(seen & ~np.all(found, axis=0)):
        here = found[:, joint]
        for axis in range(places.shape[2]):
            filled[~here, joint, axis] = np.interp(frames[~here], frames[here], places[here, joint, axis])
    for joint in np.flatnonzero(~seen):
        near = int(joint)
        while not seen[near] and parents[near] != near:
            near = int(parents[near])
        filled[:, joint] = filled[:, near]
    return filled


def to_body(places: np.ndarray, layout: Layout) -> np.ndarray:
    """Places (F, J, 3) around the mean of the hips of the whole clip, in lengths of the trunk (the median).

    How the body moves through the room is kept, where the camera stood and how tall the person is are not.

    Raises:
        DataError: the trunk has no length.
    """
    hips = places[:, list(layout.hips)].mean(1)
    trunk = float(np.median(np.linalg.norm(places[:, list(layout.shoulders)].mean(1) - hips, axis=-1)))
    if trunk <= 0:
        raise DataError(
            "shoulders and hips are in one place, so the body has no size; joints of a body would do"
        )
    return (places - hips.mean(0)) / trunk


class Joints(Modality):
    """Joints by frame, (F, J, 4) float32: x, y, z around the body's middle in lengths of its trunk, and how
    sure the place is, from 0 to 1; one that was not found is filled in, at 0.

    Args:
        name: under which it goes.
        layout: of the joints; by their number if `auto`.
        three: what three numbers a joint are: x, y, z, or x, y and a confidence; as of the layout if `auto`.
    """

    kind = "arrays"
    source = "skeleton_joints"

    def __init__(
        self,
        name: str,
        *,
        layout: Annotated[Literal["auto"] | LayoutName, About("of the joints")] = "auto",
        three: Annotated[Literal["auto", "xyz", "xyc"], About("numbers a joint are")] = "auto",
    ) -> None:
        super().__init__(name)
        self.layout, self.three = layout, three

    def _layout(self, joints: int) -> Layout:
        found = layout_of(joints) if self.layout == "auto" else LAYOUTS[self.layout]
        if found.joints != joints:
            raise DataError(f"{joints} joints; {found.joints}, as {found.name} has, would do")
        return found if self.three == "auto" else replace(found, flat=self.three == "xyc")

    def whole(self, values: np.ndarray) -> np.ndarray:
        """The joints (F, J, 2 to 4) of a file, as above.

        Raises:
            DataError: another shape, a number of joints that no layout has, NaN, or no body.
        """
        if values.ndim != 3 or values.shape[2] not in (2, 3, 4):
            raise DataError(f"joints have shape {values.shape}; (frames, joints, 2 to 4) would do")
        layout = self._layout(values.shape[1])
        broken = np.isnan(values) | np.isinf(values)
        if broken.any():
            frame, joint, _ = np.argwhere(broken)[0]
            raise DataError(
                f"joint {joint} of frame {frame} (from 0) has a value that is not a number (NaN or infinite); "
                "zeros for a joint that was not found would do"
            )
        places, found, sure = split_joints(values, layout)
        for name, these in (("hips", layout.hips), ("shoulders", layout.shoulders)):
            if not found[:, list(these)].all(1).any():
                numbers = " and ".join(map(str, these))
                raise DataError(
                    f"no body: the {name} (joint {numbers} of {layout.name}) are found in none of the "
                    f"{len(values)} frames; one frame would do"
                )
        placed = to_body(fill_missing(places, found, layout.parents), layout)
        return np.concatenate([placed, sure[..., None]], axis=-1).astype(np.float32)

    def shown(self, frames: np.ndarray) -> np.ndarray:
        """Pictures (T, SIDE, SIDE, 3) of bones, of joints (T, J, 4)."""
        layout = self._layout(frames.shape[1])
        upright = frames[..., :3] * (1.0, -1.0 if layout.down else 1.0, 1.0) + 1e-9  # 0 would be not drawn
        return render_joints(upright, layout.bones, (SIDE, SIDE))
