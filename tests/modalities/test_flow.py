"""Flow as a picture, and flow computed from frames that really move."""

import cv2
import numpy as np
import pytest

from litemkd.errors import DataError
from litemkd.modalities.flow import dis_flow, encode_flow, flow_bound
from tests.data.flows import decode_flow


def texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def moved(dx: int, dy: int, side: int = 48) -> np.ndarray:
    """The same scene with its content moved by (dx, dy) pixels, (1, side, side, 3)."""
    scene = texture(side + 16, side + 16)[8 - dy : 8 - dy + side, 8 - dx : 8 - dx + side]
    return np.repeat(scene[None, :, :, None], 3, axis=3)


def test_encoding_has_the_stated_values():
    flow = np.zeros((1, 5, 2), np.float32)
    flow[0, :, 0] = [0, 10, -10, 999, 5]
    flow[0, :, 1] = [0, 0, 0, 0, -5]
    image = encode_flow(flow, bound=10.0)
    assert image.dtype == np.uint8
    assert image[0, :, 0].tolist() == [128, 255, 1, 255, 192]  # 128 + 63.5 rounds to even
    assert image[0, :, 1].tolist() == [128, 128, 128, 128, 64]
    assert (image[..., 2] == 128).all()


def test_decoding_gives_the_flow_back_to_half_a_step():
    bound = flow_bound(96)
    flow = np.random.default_rng(1).uniform(-bound, bound, (3, 7, 9, 2)).astype(np.float32)
    back = decode_flow(encode_flow(flow, bound), bound)
    assert back.shape == flow.shape
    assert np.abs(back - flow).max() <= bound / 254 + 1e-5


def test_the_bound_grows_with_the_picture():
    assert flow_bound(256) == 20.0
    assert flow_bound(128) == 10.0


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 1)])
def test_dis_finds_a_known_movement(dx, dy):
    flow = dis_flow(moved(0, 0), moved(dx, dy))
    assert flow.shape == (1, 48, 48, 2)
    assert np.median(flow[0, :, :, 0]) == pytest.approx(dx, abs=0.1)
    assert np.median(flow[0, :, :, 1]) == pytest.approx(dy, abs=0.1)


def test_dis_does_not_depend_on_the_number_of_threads_and_leaves_it():
    before = cv2.getNumThreads()
    pair = moved(0, 0, 96), moved(2, 1, 96)
    flows = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            flows.append(dis_flow(*pair))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(*flows)


def test_mistakes_are_named():
    with pytest.raises(DataError, match=r"shape \(4, 4, 3\); \(H, W, 2\)"):
        encode_flow(np.zeros((4, 4, 3)), 1.0)
    with pytest.raises(DataError, match="not numbers"):
        encode_flow(np.full((4, 4, 2), np.nan), 1.0)
    with pytest.raises(DataError, match="bound of the flow is 0"):
        encode_flow(np.zeros((4, 4, 2)), 0)
    with pytest.raises(DataError, match="8x8 pixels are too small"):
        dis_flow(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="one shape"):
        dis_flow(moved(0, 0, 32), moved(0, 0, 48))
