"""Skeleton pictures: which pixels are lit, and that camera units do not matter."""

import numpy as np
import pytest

from litemkd.errors import DataError
from litemkd.modalities.layouts import LAYOUTS
from litemkd.modalities.skeleton import bone_colours, draw_skeleton, render_joints

STICK = ((0, 1), (1, 2))


def body(frames: int = 4) -> np.ndarray:
    """A stick of three joints whose top end moves to the right, metres, y up: (frames, 3, 3)."""
    joints = np.zeros((frames, 3, 3), np.float32)
    joints[:, :, 1] = [2.0, 1.0, 0.2]
    joints[:, :, 2] = 3.0
    joints[:, 0, 0] = np.linspace(0.0, 1.0, frames)
    return joints


def test_a_bone_is_drawn_where_it_is_in_its_colour():
    points = np.array([[40.0, 32.0], [40.0, 160.0], [200.0, 160.0]])
    picture = draw_skeleton(points, STICK, (256, 240))
    first, second = bone_colours(2)
    assert picture.shape == (256, 240, 3)
    assert picture.dtype == np.uint8
    assert picture[80, 40].tolist() == first.tolist()
    assert picture[160, 120].tolist() == second.tolist()
    assert picture[80, 80].tolist() == [0, 0, 0]


def test_hidden_joints_take_their_bones_away():
    points = np.array([[10.0, 8.0], [10.0, 40.0], [np.nan, np.nan]])
    picture = draw_skeleton(points, STICK, (64, 64), np.array([True, True, False]))
    assert picture[20, 10].any()
    assert not picture[40, 30].any()


def test_a_point_far_outside_is_no_fault():
    picture = draw_skeleton(np.array([[32.0, 32.0], [32.0, 1e9], [-50.0, 32.0]]), STICK, (64, 64))
    assert picture[60, 32].any()


def test_thickness_grows_with_the_picture():
    def lit(side: int) -> int:
        return int(
            draw_skeleton(np.array([[0, 0.5], [1, 0.5]]) * side, ((0, 1),), (side, side))
            .any(-1)[:, side // 2]
            .sum()
        )

    assert lit(32) < lit(128) < lit(512)


def test_every_bone_has_its_own_colour():
    for bones in (layout.bones for layout in LAYOUTS.values()):
        assert len({tuple(colour) for colour in bone_colours(len(bones)).tolist()}) == len(bones)


def test_units_and_place_of_the_camera_do_not_matter():
    joints = body()
    picture = render_joints(joints, STICK, (64, 80))
    assert picture.shape == (4, 64, 80, 3)
    elsewhere = joints * 1000 + np.array([300.0, -40.0, 9.0])
    assert np.abs(render_joints(elsewhere, STICK, (64, 80)).astype(int) - picture).max() <= 2


def test_the_whole_clip_decides_the_place():
    pictures = render_joints(body(), STICK, (64, 64))
    rows, columns = np.nonzero(pictures.any((0, 3)))
    # The body is 1.8 high: it fills the height but for the margin, give or take the line's thickness.
    assert abs(rows.min() - 6) <= 2
    assert abs(rows.max() - 57) <= 2
    assert abs((columns.min() + columns.max()) / 2 - 31.5) <= 2
    # The moving end is at the top and goes to the right.
    tops = [int(np.nonzero(picture[:12].any((0, 2)))[0].mean()) for picture in pictures]
    assert tops == sorted(tops)
    assert tops[0] < tops[-1]


def test_a_frame_without_a_body_is_black_and_does_not_move_the_others():
    joints = body()
    lost = joints.copy()
    lost[1] = 0
    expected = render_joints(joints, STICK, (64, 64))
    pictures = render_joints(lost, STICK, (64, 64))
    assert not pictures[1].any()
    assert np.array_equal(pictures[[0, 2, 3]], expected[[0, 2, 3]])


def test_confidence_hides_nothing():
    joints = np.concatenate([body(), np.ones((4, 3, 1), np.float32)], axis=2)
    joints[:, 2, 3] = 0.2
    assert np.array_equal(render_joints(joints, STICK, (64, 64)), render_joints(body(), STICK, (64, 64)))


def test_mistakes_are_named():
    with pytest.raises(DataError, match="no body was found in any of the 4 frames"):
        render_joints(np.zeros((4, 3, 3)), STICK, (64, 64))
    bad = body()
    bad[2, 1, 0] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        render_joints(bad, STICK, (64, 64))
    with pytest.raises(DataError, match=r"shape \(4, 3, 2\); \(frames, joints, 3 or 4\)"):
        render_joints(body()[:, :, :2], STICK, (64, 64))
    with pytest.raises(DataError, match="joint 2, but there are 2"):
        draw_skeleton(np.zeros((2, 2)), STICK, (8, 8))
    with pytest.raises(DataError, match=r"shape \(3, 3\)"):
        draw_skeleton(np.zeros((3, 3)), STICK, (8, 8))
