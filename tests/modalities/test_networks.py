"""The networks on random weights and on files made here: shapes, sizes, determinism; they know nothing yet."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.models.optical_flow import raft_small

from litemkd.errors import CheckpointError
from litemkd.modalities.depth_anything import PUBLISHED, DepthAnything
from litemkd.modalities.flow import flow_bound
from litemkd.modalities.keypoints import KeypointRcnn
from litemkd.modalities.raft import Raft
from litemkd.storage.weights import Weights
from tests.data.flows import decode_flow

CPU = torch.device("cpu")


def scene(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, height, width, 3): a pattern that moves by two pixels a frame."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 256, (height // 4 + 1, width // 4 + n + 1, 3)), np.ones((4, 4, 1)))
    return np.stack([wide[:height, 2 * t : 2 * t + width] for t in range(n)]).astype(np.uint8)


def raft(choice: str = "random") -> Raft:
    return Raft(Weights("raft_small", choice, "Raft_Small_Weights.C_T_V2"), CPU)


def depth(choice: str = "random") -> DepthAnything:
    return DepthAnything(Weights("depth_anything", choice, PUBLISHED), CPU)


def keypoints(choice: str = "random") -> KeypointRcnn:
    return KeypointRcnn(Weights("keypoint_rcnn", choice, "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1"), CPU)


@pytest.fixture(scope="module")
def raft_file(tmp_path_factory):
    """Random weights of RAFT in a file, as a user's own."""
    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def by_hand(path, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The flow of torchvision's network as it is, for sides that it takes."""
    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    pair = [torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1 for images in (first, second)]
    with torch.inference_mode():
        return network(*pair)[-1].permute(0, 2, 3, 1).numpy()


def test_raft_is_torchvisions(raft_file):
    frames = scene(3, 128, 136)
    found = raft(str(raft_file)).estimate(frames[:2], frames[1:])
    assert [flow.shape for flow in found] == [(128, 136, 2)] * 2
    np.testing.assert_allclose(found, by_hand(raft_file, frames[:2], frames[1:]), atol=1e-4)


def test_raft_on_odd_sides_is_the_crop_of_the_padded(raft_file):
    frames = scene(2, 131, 141)
    padded = np.pad(frames, ((0, 0), (0, 5), (0, 3), (0, 0)), mode="edge")
    (found,) = raft(str(raft_file)).estimate(frames[:1], frames[1:])
    (whole,) = by_hand(raft_file, padded[:1], padded[1:])
    np.testing.assert_allclose(found, whole[:131, :141], atol=1e-4)


def test_raft_on_small_frames_gives_flow_in_their_pixels(raft_file):
    frames = scene(2, 64, 80)
    grown = F.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).float(), (128, 160), mode="bilinear", align_corners=False
    )
    grown = grown.permute(0, 2, 3, 1).numpy()
    (large,) = by_hand(raft_file, grown[:1], grown[1:])
    (found,) = raft(str(raft_file)).estimate(frames[:1], frames[1:])
    assert found.shape == (64, 80, 2)
    # Half the side is half the movement, of the mean of four pixels.
    np.testing.assert_allclose(found, large.reshape(64, 2, 80, 2, 2).mean((1, 3)) / 2, atol=1e-3)


def test_raft_as_pictures_comes_back_as_flow(raft_file):
    network = raft(str(raft_file))
    frames = scene(3, 128, 128)
    found = network.estimate(frames[:2], frames[1:])
    pictures = network.encode(found, (128, 128), (128, 128), 128)
    bound = flow_bound(128)
    within = np.clip(np.stack(found), -bound, bound)
    assert np.abs(decode_flow(pictures, bound) - within).max() <= bound / 254 * 1.001


def test_a_network_gives_the_same_each_time_and_for_each_frame_alone():
    frames = scene(2, 96, 128)
    for make in (raft, depth, keypoints):
        network = make()
        network.load()
        together = network.estimate(frames, frames[::-1].copy())
        again = make().estimate(frames, frames[::-1].copy())
        assert all(np.array_equal(one, other) for one, other in zip(together, again, strict=True)), make
        (alone,) = network.estimate(frames[1:], frames[:1])
        np.testing.assert_allclose(alone, together[1], rtol=1e-3, atol=1e-3)


def test_depth_and_people_are_brought_to_the_size_asked_for():
    frames = scene(2, 96, 128)
    for make in (depth, keypoints):
        network = make()
        pictures = network.encode(network.estimate(frames, frames), (96, 128), (48, 64), 48)
        assert pictures.shape == (2, 48, 64, 3)
        assert pictures.dtype == np.uint8
        assert pictures.any()


def test_people_move_with_the_size():
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, 5], joints[0, 7] = (20, 10, 1), (20, 60, 1)
    picture = keypoints().encode([joints], (80, 160), (40, 80), 40)[0]
    rows, columns = np.nonzero(picture.any(-1))
    assert 9 <= columns.min() <= columns.max() <= 11
    assert 4 <= rows.min() <= 6
    assert 29 <= rows.max() <= 31


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    """A very small Depth Anything of random weights, saved by transformers as the published ones are."""
    from transformers import AutoModelForDepthEstimation, DepthAnythingConfig, Dinov2Config, DPTImageProcessor

    torch.manual_seed(3)
    backbone = Dinov2Config(
        hidden_size=12,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=42,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=12,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
    )
    folder = tmp_path_factory.mktemp("depth") / "tiny"
    network = AutoModelForDepthEstimation.from_config(config)
    for weights in network.parameters():  # as they are made, what comes out is hardly told from a constant
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.3)
    torch.nn.init.constant_(network.head.conv3.bias, 3.0)  # else the last ReLU may leave nothing
    network.save_pretrained(folder)
    DPTImageProcessor(
        size={"height": 42, "width": 42}, keep_aspect_ratio=True, ensure_multiple_of=14, do_resize=True
    ).save_pretrained(folder)
    return folder


def copied(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_depth_anything_is_loaded_from_a_folder(depth_folder, tmp_path):
    network = depth(str(depth_folder))
    assert network.identity().startswith("sha256:")
    network.load()
    assert network.side == 42
    frames = scene(2, 84, 112)
    found = network.estimate(frames, frames)
    assert [one.shape for one in found] == [(42, 56)] * 2
    pictures = network.encode(found, (84, 112), (30, 40), 30)
    assert pictures.shape == (2, 30, 40, 3)
    other = copied(depth_folder, tmp_path / "other")
    assert depth(str(other)).identity() == network.identity()
    # Metric models give distances: what was bright becomes dark.
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "depth_estimation_type": "metric"}))
    metric = depth(str(other))
    assert metric.identity() != network.identity()
    assert np.corrcoef(np.ravel(metric.estimate(frames, frames)), np.ravel(found))[0, 1] < -0.5


def test_depth_folders_that_are_not_whole_are_told(depth_folder, tmp_path):
    folder = copied(depth_folder, tmp_path / "a")
    state = load_file(folder / "model.safetensors")
    lacking = sorted(state)[0]
    save_file({k: v for k, v in state.items() if k != lacking}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"a: 1 weights of the network are not in it or of another shape, "
    ):
        depth(str(folder)).load()
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match=r"data\.weights\.depth_anything: .*a: cannot be read \("):
        depth(str(folder)).load()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"a: no model\.safetensors there; a folder with config\.json, "):
        depth(str(folder)).load()


def test_a_hub_name_is_not_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    network = depth("depth-anything/Depth-Anything-V2-Base-hf")
    assert network.identity() == "depth-anything/Depth-Anything-V2-Base-hf"
    with pytest.raises(
        CheckpointError, match=r"V2-Base-hf: cannot be read \(.*\); `download`, `download:NAME` "
    ):
        network.load()
    assert depth("download").identity() == "depth-anything/Depth-Anything-V2-Small-hf"
    assert depth("download:some/model").identity() == "some/model"


WITHOUT = """
import sys
sys.modules["transformers"] = None
import torch
from litemkd.modalities.depth_anything import DepthAnything
from litemkd.storage.weights import Weights
try:
    DepthAnything(Weights("depth_anything", "random", ""), torch.device("cpu")).load()
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_transformers_the_way_out_is_told():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == (
        "CheckpointError depth by depth_anything needs the package transformers, which is not installed: "
        "pip install 'litemkd[depth]'"
    )
