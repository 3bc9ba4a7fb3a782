"""Joints as numbers: what a file holds, what is missing of it, and the body as the measure."""

from __future__ import annotations

import numpy as np
import pytest

from litemkd.errors import DataError
from litemkd.modalities.joints import Joints, fill_missing, split_joints, to_body
from litemkd.modalities.layouts import LAYOUTS, Layout, layout_of
from litemkd.modalities.registry import modality

# A stick of four joints: 0 hips, 1 shoulders, 2 and 3 hands.
STICK = Layout("stick", ((0, 1), (1, 2), (1, 3)), ((2, 3),), hips=(0,), shoulders=(1,))
RECORD = Joints("joints")


def people(frames: int = 10, joints: int = 20, axes: int = 4, seed: int = 0) -> np.ndarray:
    """Somebody who moves, at no place that is 0; sure everywhere."""
    rng = np.random.default_rng(seed)
    walk = rng.normal(size=(1, joints, axes)) + 0.1 * rng.normal(size=(frames, joints, axes)).cumsum(0) + 5.0
    if axes == 4 or (axes == 3 and joints == 17):
        walk[..., -1] = 1.0
    return walk.astype(np.float32)


@pytest.mark.parametrize(
    ("name", "joints"), [("kinect20", 20), ("ntu25", 25), ("coco17", 17), ("mediapipe33", 33)]
)
def test_layouts_join_all_joints_in_one_body(name: str, joints: int) -> None:
    layout = layout_of(joints)
    assert layout == LAYOUTS[name]
    assert layout.joints == joints
    assert (layout.hops >= 0).all()
    assert (layout.hops == layout.hops.T).all()
    assert sorted(np.flatnonzero(layout.parents == np.arange(joints))) == sorted(layout.hips)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_mirror_takes_bones_to_bones(layout: Layout) -> None:
    places = layout.mirrored
    assert (places[places] == np.arange(layout.joints)).all()
    bones = {frozenset(bone) for bone in layout.bones}
    assert {frozenset(places[list(bone)].tolist()) for bone in bones} == bones
    assert {places[one] for one in layout.hips} == set(layout.hips)


def test_a_number_of_joints_that_no_layout_has() -> None:
    with pytest.raises(
        DataError, match=r"no bone layout is known for 18 joints; known: kinect20 \(20 joints\)"
    ):
        layout_of(18)


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("layout", ["h36m17", "coco17"])
def test_seventeen_joints_in_three_dimensions(layout: str, sure: bool) -> None:
    places = np.random.default_rng(0).normal(size=(6, 17, 3)) + 5.0
    confidence = np.full((6, 17, 1), 0.5)
    values = np.concatenate([places, confidence], -1) if sure else places
    record = modality("body", "joints", layout=layout, three="xyz")
    found = record.whole(values)
    np.testing.assert_allclose(found[..., :3], to_body(places, LAYOUTS[layout]), rtol=1e-5, atol=1e-6)
    assert (found[..., 3] == (0.5 if sure else 1.0)).all()
    assert record.shown(found).shape == (6, 96, 96, 3)
    flat = Joints("joints").whole(np.concatenate([places[..., :2], confidence], -1))
    assert not flat[..., 2].any(), "without a word three numbers of 17 are x, y and a confidence"
    with pytest.raises(DataError, match="20 joints; 17, as"):
        record.whole(np.ones((3, 20, 3)))


def test_the_graph_of_a_stick() -> None:
    assert STICK.parents.tolist() == [0, 0, 1, 1]
    assert STICK.hops.tolist() == [[0, 1, 2, 2], [1, 0, 1, 1], [2, 1, 0, 2], [2, 1, 2, 0]]


def test_what_three_and_four_numbers_are() -> None:
    flat, deep = LAYOUTS["coco17"], LAYOUTS["kinect20"]
    one = np.ones((1, 17, 3)) * (3.0, 4.0, 0.25)
    one[0, 2, 2] = 0.0
    places, found, sure = split_joints(one, flat)
    assert places[0, 0].tolist() == [3.0, 4.0, 0.0]
    assert found[0].tolist() == [joint != 2 for joint in range(17)]
    assert sure[0, :3].tolist() == [0.25, 0.25, 0.0]
    other = np.ones((1, 20, 4)) * (3.0, 4.0, 5.0, 0.0)
    other[0, 1, :3] = 0.0
    places, found, sure = split_joints(other, deep)
    assert places[0, 0].tolist() == [3.0, 4.0, 5.0]
    assert found[0].tolist() == [
        joint != 1 for joint in range(20)
    ]  # confidence 0 is of a place that is inferred
    assert not sure.any()


def test_missing_joints_move_evenly_from_where_they_were() -> None:
    places = np.zeros((5, 4, 3))
    places[:, 0] = 1.0
    places[:, 1] = 2.0
    places[1, 2], places[3, 2] = (1.0, 0.0, 0.0), (3.0, 2.0, 0.0)
    found = np.zeros((5, 4), bool)
    found[:, :2] = found[[1, 3], 2] = True
    filled = fill_missing(places, found, STICK.parents)
    assert filled[:, 2].tolist() == [[1, 0, 0], [1, 0, 0], [2, 1, 0], [3, 2, 0], [3, 2, 0]]
    assert (filled[:, 3] == 2.0).all()  # never found: where its neighbour is


@pytest.mark.parametrize("seed", range(5))
def test_filling_keeps_what_was_found_and_stays_between(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, found = rng.normal(size=(12, 4, 3)), rng.random((12, 4)) < 0.5
    found[0] = True
    filled = fill_missing(places, found, STICK.parents)
    assert np.array_equal(filled[found], places[found])
    for joint in range(4):
        seen = places[found[:, joint], joint]
        assert (filled[:, joint] >= seen.min(0) - 1e-9).all()
        assert (filled[:, joint] <= seen.max(0) + 1e-9).all()


def test_a_body_is_measured_by_its_trunk() -> None:
    places = np.zeros((2, 4, 3))
    places[:, 0] = [(1.0, 0.0, 3.0), (3.0, 0.0, 3.0)]  # hips walk by 2
    places[:, 1] = places[:, 0] + (0.0, 2.0, 0.0)  # the trunk is 2 long
    body = to_body(places, STICK)
    assert body[:, 0].tolist() == [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]
    assert body[:, 1].tolist() == [[-0.5, 1.0, 0.0], [0.5, 1.0, 0.0]]


@pytest.mark.parametrize(("joints", "axes"), [(20, 4), (20, 3), (25, 3), (17, 2), (17, 3), (33, 4), (33, 2)])
def test_place_and_unit_do_not_matter(joints: int, axes: int) -> None:
    given = people(joints=joints, axes=axes)
    moved = given.copy()
    space = slice(None, 2 if joints == 17 or axes == 2 else 3)
    moved[..., space] = 1000.0 * moved[..., space] - 7.0
    one, other = RECORD.whole(given), RECORD.whole(moved)
    assert one.shape == (10, joints, 4)
    assert one.dtype == np.float32
    assert np.allclose(one, other, atol=1e-3)
    assert RECORD.shown(one).shape == (10, 96, 96, 3)
    assert RECORD.shown(one).any((1, 2, 3)).all()


def test_what_is_wrong_with_joints_is_said() -> None:
    bad = people()
    bad[3, 5, 1] = np.nan
    with pytest.raises(
        DataError, match=r"joint 5 of frame 3 \(from 0\) .* zeros for a joint that was not found"
    ):
        RECORD.whole(bad)
    with pytest.raises(DataError, match=r"shape \(10, 20\); \(frames, joints, 2 to 4\) would do"):
        RECORD.whole(bad[..., 0])
    with pytest.raises(DataError, match="no bone layout is known for 19 joints"):
        RECORD.whole(people(joints=19))
    legless = people(joints=17, axes=3)
    legless[:, 11] = 0
    with pytest.raises(
        DataError, match=r"the hips \(joint 11 and 12 of coco17\) are found in none of the 10 frames"
    ):
        RECORD.whole(legless)
    with pytest.raises(DataError, match="the body has no size"):
        RECORD.whole(np.ones((10, 20, 3)))


def test_plain_arrays_are_checked_and_shown() -> None:
    from litemkd.modalities.record import Modality, bars

    class Sound(Modality):
        kind = "arrays"

    record = Sound("sound")
    assert record.whole(np.arange(6).reshape(3, 2)).dtype == np.float32
    with pytest.raises(DataError, match=r"frame 1 \(from 0\) has a value that is not a number"):
        record.whole(np.array([[0.0], [np.inf]]))
    with pytest.raises(DataError, match=r"shape \(3,\); numbers \(frames, ...\) would do"):
        record.whole(np.zeros(3))
    pictures = bars(np.array([[0.0, 1.0], [1.0, 0.0]]), side=4)
    assert pictures[0, 0, :, 0].tolist() == [0, 0, 255, 255]
    assert pictures[1, 0, :, 0].tolist() == [255, 255, 0, 0]
    assert record.shown(np.zeros((3, 2, 2))).shape == (3, 96, 96, 3)
