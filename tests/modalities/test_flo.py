"""Reading .flo files that the tests write byte by byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litemkd.errors import DataError
from litemkd.modalities.flow import read_flo, resize_flow


def flo_bytes(width: int, height: int, values: list[float]) -> bytes:
    """The format by hand: magic, sides, then (dx, dy) by row."""
    return b"PIEH" + struct.pack("<ii", width, height) + b"".join(struct.pack("<f", v) for v in values)


# 2 wide, 3 high; the magic is the float 202021.25.
GOLDEN = flo_bytes(2, 3, [1.5, -2.0, 0.0, 0.25, 3.0, 4.0, -5.0, 6.0, 7.0, -8.0, 9.0, 10.0])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_golden_file(tmp_path):
    assert struct.unpack("<f", GOLDEN[:4]) == (202021.25,)
    flow = read_flo(written(tmp_path / "a.flo", GOLDEN))
    assert flow.dtype == np.float32
    assert flow.tolist() == [[[1.5, -2], [0, 0.25]], [[3, 4], [-5, 6]], [[7, -8], [9, 10]]]


def test_unknown_flow_is_none(tmp_path):
    content = flo_bytes(3, 1, [1.6e9, 2.0, 1.0, -1.7e9, 5.0, 6.0])
    assert read_flo(written(tmp_path / "a.flo", content)).tolist() == [[[0, 0], [0, 0], [5, 6]]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"a\.flo is no \.flo file: it begins with b'', not b'PIEH'"),
        (b"PIE", r"is no \.flo file: it begins with b'PIE'"),
        (b"HEIP" + GOLDEN[4:], r"is no \.flo file: it begins with b'HEIP'"),
        (GOLDEN[:9], r"is cut off: 9 bytes, fewer than the 12 of its header"),
        (GOLDEN[:-1], r"has 59 bytes; flow of 2x3 pixels has 60"),
        (GOLDEN + b"\0", r"has 61 bytes; flow of 2x3 pixels has 60"),
        (flo_bytes(-2, 3, [0.0] * 12), r"is damaged: its header says -2x3 pixels"),
        (flo_bytes(2, 2**30, [0.0]), r"is damaged: its header says 2x1073741824 pixels"),
        (flo_bytes(1, 1, [float("nan"), 0.0]), r"has values that are not numbers \(NaN or infinite\)"),
        (flo_bytes(1, 1, [0.0, float("-inf")]), r"has values that are not numbers"),
    ],
)
def test_damage_is_told(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        read_flo(written(tmp_path / "a.flo", content))


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot read flow .*a\.flo: No such file"):
        read_flo(tmp_path / "a.flo")


@given(
    flow=arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(2)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_any_flow_comes_back(tmp_path_factory, flow):
    path = tmp_path_factory.mktemp("flo") / "a.flo"
    path.write_bytes(flo_bytes(flow.shape[1], flow.shape[0], flow.ravel().tolist()))
    assert np.array_equal(read_flo(path), flow)


def test_resized_flow_moves_by_pixels_of_the_new_size():
    flow = np.full((10, 20, 2), (3.0, -2.0), np.float32)
    smaller = resize_flow(flow, (5, 5))
    assert smaller.shape == (5, 5, 2)
    assert np.allclose(smaller, (0.75, -1.0))
    assert np.allclose(resize_flow(flow, (30, 30)), (4.5, -6.0))
    assert resize_flow(flow, (10, 20)) is flow
