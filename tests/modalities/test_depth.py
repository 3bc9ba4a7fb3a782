"""Depth as a picture, and depth maps that others made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from litemkd.errors import DataError
from litemkd.modalities.depth import encode_depth, nearness_of, read_depth_map, resize_map


def test_near_is_bright_in_one_range_for_the_clip():
    clip = np.stack([np.linspace(0, 10, 101), np.linspace(5, 5, 101)])[:, None]
    pictures = encode_depth(clip)
    assert pictures.shape == (2, 1, 101, 3)
    assert pictures.dtype == np.uint8
    assert (pictures[..., 0] == pictures[..., 1]).all()
    assert (pictures[..., 0] == pictures[..., 2]).all()
    row = pictures[0, 0, :, 0].astype(int)
    assert row[0] == 1
    assert row[-1] == 255
    assert (np.diff(row) >= 0).all()
    assert set(pictures[1].ravel().tolist()) == {128}  # the middle, though its own frame knows no other value


def test_a_few_wrong_readings_do_not_set_the_range():
    clip = np.tile(np.linspace(1, 2, 200), (8, 10, 1))
    plain = encode_depth(clip)
    clip[0, 0, :50] = 1e6
    spoilt = encode_depth(clip)
    assert np.abs(plain.astype(int) - spoilt)[:, 1:].max() <= 3


@given(scale=st.floats(0.01, 100), shift=st.floats(-50, 50), seed=st.integers(0, 99))
def test_unit_and_origin_do_not_matter(scale, shift, seed):
    clip = np.random.default_rng(seed).uniform(0, 1, (2, 4, 5))
    changed = encode_depth(clip * scale + shift)
    assert np.abs(encode_depth(clip).astype(int) - changed).max() <= 1


def test_no_reading_is_black_and_takes_no_part():
    clip = np.array([[[1.0, 2.0, np.nan]]])
    known = np.array([[[True, True, False]]])
    assert encode_depth(clip, known)[0, 0, :, 0].tolist() == [1, 255, 0]
    assert encode_depth(np.ones((1, 1, 2)))[0, 0, :, 0].tolist() == [128, 128]
    with pytest.raises(DataError, match="there is no depth reading in any of its frames"):
        encode_depth(clip, np.zeros_like(known))
    with pytest.raises(DataError, match="depth has values that are not numbers"):
        encode_depth(clip)
    with pytest.raises(DataError, match=r"depth to encode has shape \(2, 2\); \(T, H, W\) is needed"):
        encode_depth(np.ones((2, 2)))


def test_maps_of_16_bits_and_of_numpy(tmp_path):
    values = np.array([[0, 1, 255], [256, 40_000, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_depth_map(tmp_path / "a.png").tolist() == values.tolist()
    np.save(tmp_path / "b.npy", np.array([[[[1.5, np.nan], [-1.0, np.inf]]]]))  # with the axes AdaBins keeps
    assert read_depth_map(tmp_path / "b.npy").tolist() == [[1.5, 0], [0, 0]]


def test_other_files_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(
        DataError, match=r"grey\.png is a picture of kind L; a depth map is a 16-bit grey PNG, or"
    ):
        read_depth_map(tmp_path / "grey.png")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"cannot read depth map .*half\.png: "):
        read_depth_map(tmp_path / "half.png")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    with pytest.raises(DataError, match=r"flat\.npy has shape \(5,\), float64; \(H, W\) numbers are needed"):
        read_depth_map(tmp_path / "flat.npy")
    np.save(tmp_path / "code.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"code\.npy: not readable as a NumPy array .*Python objects"):
        read_depth_map(tmp_path / "code.npy")
    with pytest.raises(DataError, match=r"gone\.npy: not readable as a NumPy array .*No such file"):
        read_depth_map(tmp_path / "gone.npy")


def test_near_is_one_by_distance_and_gaps_take_no_part():
    distances = np.array([[2.0, 2.0, 0.0, 4.0], [2.0, 2.0, 0.0, 0.0]], np.float32)
    near, known = nearness_of(distances, (2, 4))
    assert near.tolist() == [[0.5, 0.5, 0, 0.25], [0.5, 0.5, 0, 0]]
    assert known.tolist() == [[True, True, False, True], [True, True, False, False]]
    near, known = nearness_of(distances, (1, 2))
    assert near.tolist() == [[0.5, 0.25]]  # of the four pixels on the right one has a reading
    assert known.tolist() == [[True, False]]


def test_resizing_a_map():
    assert resize_map(np.array([[0.0, 2.0], [4.0, 6.0]]), (1, 1)).tolist() == [[3.0]]
    assert resize_map(np.ones((2, 3)), (4, 6)).tolist() == np.ones((4, 6)).tolist()
