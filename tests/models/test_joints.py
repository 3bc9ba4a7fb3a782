"""Experts of arrays: the graph of a body, what training clips may be, and the shapes of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litemkd.extending.declared import settings_of
from litemkd.modalities.layouts import LAYOUTS, Layout
from litemkd.models.experts import OWN_EXPERT, ArrayExpert, WholeClips
from litemkd.models.joints import STREAMS, JointGraph, JointMix, body_graph, mirror, turned
from litemkd.models.series import Series, changes

STICK = Layout("stick", ((0, 1), (1, 2), (1, 3)), ((2, 3),), hips=(0,), shoulders=(1,))


def clips(videos: int = 3, steps: int = 32, joints: int = 20, flat: bool = False) -> torch.Tensor:
    made = torch.randn(videos, steps, joints, 4, generator=torch.Generator().manual_seed(0))
    made[..., 3] = 1.0
    if flat:
        made[..., 2] = 0.0
    return made


def test_the_matrices_of_a_stick() -> None:
    itself, nearer, farther = body_graph(STICK).tolist()
    assert itself == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert nearer == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert farther == [[0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_joints_take_from_their_neighbours() -> None:
    mix = JointMix(body_graph(STICK))
    x = torch.tensor([1.0, 10.0, 100.0, 300.0])[:, None, None]
    with torch.no_grad():
        taken = mix(x)[:, 0]
    assert taken.tolist() == [[1, 0, 10], [10, 1, 200], [100, 10, 0], [300, 10, 0]]


def test_changes_begin_with_nothing() -> None:
    assert changes(torch.tensor([[1.0, 4.0, 2.0]])).tolist() == [[0.0, 3.0, -2.0]]


def test_streams_are_places_bones_and_how_they_change() -> None:
    expert = JointGraph(frames=8, streams=("joint", "bone", "joint_motion", "bone_motion", "confidence"))
    one = clips()
    seen = expert.see(one)
    assert seen.shape == (3, 32, 20, 13)
    assert torch.equal(seen[..., :3], one[..., :3])
    hand, wrist = 11, 9  # of Kinect
    assert torch.allclose(seen[:, :, hand, 3:6], 2 * (one[:, :, hand, :3] - one[:, :, wrist, :3]))
    assert not seen[:, :, 6, 3:6].any()  # the hips have no bone
    assert torch.allclose(seen[:, 5, 0, 6:9], 4 * (one[:, 5, 0, :3] - one[:, 4, 0, :3]))
    assert not seen[:, 0, :, 6:12].any()
    assert (seen[..., 12] == 1).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("frames", "steps"), [(8, 32), (8, 8), (4, 30), (5, 64)])
def test_features_are_one_a_frame(layout: str, frames: int, steps: int) -> None:
    expert = JointGraph(frames=frames, steps=steps, layout=layout, width=16).eval()
    made = WholeClips(expert, frames)(clips(2, steps, LAYOUTS[layout].joints, flat=layout == "coco17"))
    assert made.shape == (2, frames, 16)
    assert made.isfinite().all()
    assert expert.takes == (steps, LAYOUTS[layout].joints, 4)


def test_a_turn_about_the_vertical() -> None:
    assert np.allclose(turned(np.array([[1.0, 2.0, 3.0]]), 90.0), [[3.0, 2.0, -1.0]])
    assert np.allclose(turned(np.array([[1.0, 2.0, 3.0]]), 360.0), [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("seed", range(4))
def test_turns_keep_lengths_and_mirrors_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(6, 20, 3))
    around = turned(places, rng.uniform(-180, 180))
    of, after = (np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (places, around))
    assert np.allclose(of, after)
    layout = LAYOUTS["kinect20"]
    clip = np.concatenate([places, rng.random((6, 20, 1))], axis=-1)
    before = clip.copy()
    other = mirror(clip, layout)
    assert np.array_equal(clip, before)
    assert np.array_equal(mirror(other, layout), clip)
    assert np.array_equal(other[:, 11, 1:], clip[:, 12, 1:])  # hands change places
    assert np.array_equal(other[:, 11, 0], -clip[:, 12, 0])


def test_training_clips_keep_their_shape_and_are_mirrored_only_where_asked() -> None:
    expert, clip = JointGraph(frames=8, turn=0.0), clips(1)[0].numpy()
    sides = []
    for seed in range(20):
        varied = expert.vary(clip, np.random.default_rng(seed), flip=False)
        assert varied.shape == clip.shape
        assert varied.dtype == clip.dtype
        assert np.array_equal(varied[..., 3], clip[..., 3])
        ratio = varied[..., :3] / clip[..., :3]
        assert np.allclose(ratio, ratio[0, 0], rtol=1e-4)
        assert (np.abs(ratio - 1) <= 0.2 + 1e-5).all()
        sides.append(not np.array_equal(expert.vary(clip, np.random.default_rng(seed), flip=True), varied))
    assert any(sides)
    assert not all(sides)


def test_joints_of_pictures_are_not_turned_into_depth() -> None:
    clip = clips(1, joints=17, flat=True)[0].numpy()
    varied = JointGraph(frames=8, layout="coco17", turn=90.0).vary(clip, np.random.default_rng(0), flip=True)
    assert not varied[..., 2].any()


def test_experts_of_litemkd_have_names_and_eight_settings_or_fewer() -> None:
    for name, kind in (("joints", JointGraph), ("series", Series)):
        found = OWN_EXPERT.find(name)
        assert found is kind
        assert issubclass(found, ArrayExpert)
        assert settings_of(found)
    with pytest.raises(ValueError, match="did you mean `joints`"):
        OWN_EXPERT.find("joint")


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(ValueError, match=r"steps: 4 given; data\.frames = 8 or more would do"):
        JointGraph(frames=8, steps=4)
    with pytest.raises(ValueError, match="width: 9 given; an even number"):
        JointGraph(frames=8, width=9)
    assert JointGraph(frames=8).would((25, 4)) == "layout: ntu25"
    assert Series(frames=8).would((5,)) == "dim: 5"


def test_series_are_numbers_of_any_kind() -> None:
    expert = Series(frames=8, dim=5, width=12).eval()
    assert WholeClips(expert, 8)(torch.randn(2, 32, 5)).shape == (2, 8, 12)
    assert settings_of(JointGraph)["streams"].default == STREAMS
