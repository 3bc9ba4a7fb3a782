"""Backbones: shapes, the pooling by hand, normalisation inside, weights files."""

from urllib.error import URLError

import pytest
import torch
from torchvision import models as tv

from litemkd.errors import CheckpointError
from litemkd.models.backbones import NORMALISATION, Backbone, windows_maximum
from litemkd.models.catalogue import BACKBONES
from litemkd.models.networks import IMAGENET, published_normalisation


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Backbone("mobilenet_v3_small", normalise="none").eval()


@pytest.mark.parametrize("name", ["conv4", "resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize(("pooling", "places"), [("mean", 1), ("flatten", 16)])
def test_shapes_and_gradients(name, pooling, places):
    torch.manual_seed(0)
    backbone = Backbone(name, pooling=pooling)
    frames = torch.rand(2, 3, 3, 32, 32, requires_grad=True)  # 2 clips of 3 frames
    assert backbone.pool(backbone.maps(frames[0])).shape == (3, BACKBONES[name].channels, 4, 4)
    features = backbone(frames)
    assert features.shape == (2, 3, places * BACKBONES[name].channels) == (2, 3, backbone.channels)
    assert backbone(frames[:, None]).shape == (2, 1, 3, backbone.channels)
    features.sum().backward()
    assert frames.grad.abs().max() > 0


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_table_tells_the_channels_and_known_weights(name):
    spec = BACKBONES[name]
    with torch.device("meta"):  # no memory, no time
        features = Backbone(name).features
        assert features(torch.empty(1, 3, 64, 64)).shape[1] == spec.channels
    if spec.imagenet is None:
        assert name == "conv4"
        return
    weights = tv.get_weight(spec.imagenet)
    assert weights.meta["num_params"] > 0
    wanted = weights.transforms()
    assert (tuple(wanted.mean), tuple(wanted.std)) == published_normalisation(name)  # as these weights want it
    assert spec.imagenet.lower().replace("_", "").startswith(f"{name.replace('_', '')}weights")


def test_pooling_by_hand(small):
    frames = torch.rand(1, 3, 256, 192)  # a map of 8 x 6
    with torch.no_grad():
        plain = small.features(frames)
        assert plain.shape[-2:] == (8, 6)
        rows = [(0, 2), (2, 4), (4, 6), (6, 8)]
        columns = [(0, 2), (1, 3), (3, 5), (4, 6)]  # adaptive: floor(i w / 4) to ceil((i + 1) w / 4)
        cells = [plain[:, :, a:b, c:d].amax((2, 3)) for a, b in rows for c, d in columns]
        torch.testing.assert_close(small(frames), torch.stack(cells).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (8, 6), (4, 4), (3, 5), (1, 1)])
def test_the_deterministic_pooling_is_the_pooling(size):
    torch.manual_seed(0)
    maps = torch.relu(torch.randint(-3, 4, (2, 5, *size)).double()).requires_grad_()  # many places are equal
    weights = torch.randint(1, 100, (2, 5, 4, 4)).double()
    plain, windows = torch.nn.AdaptiveMaxPool2d(4)(maps), windows_maximum(maps, 4)
    assert torch.equal(plain, windows)
    (expected,) = torch.autograd.grad((plain * weights).sum(), maps)
    (gradient,) = torch.autograd.grad((windows * weights).sum(), maps)
    assert torch.equal(expected, gradient)


def test_in_deterministic_mode_a_backbone_gives_the_same(deterministic_mode):
    backbone = Backbone("conv4", normalise="none")
    frames = torch.rand(2, 3, 3, 80, 80)
    with deterministic_mode(False):
        plain = backbone(frames)
    with deterministic_mode(True):
        torch.testing.assert_close(backbone(frames), plain)


def test_flatten_keeps_the_places_that_mean_averages():
    torch.manual_seed(0)
    mean, flat = Backbone("conv4").eval(), Backbone("conv4", pooling="flatten").eval()
    flat.load_state_dict(mean.state_dict())
    frames = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        places = flat(frames).view(2, 32, 16)
        torch.testing.assert_close(places, flat.pool(flat.maps(frames)).flatten(2))
        torch.testing.assert_close(places.mean(-1), mean(frames))


def test_average_is_the_mean_of_the_whole_map():
    average = Backbone("conv4", pooling="average", normalise="none").eval()
    frames = torch.rand(1, 2, 3, 96, 72)  # a map of 6 x 4: the cells of a 4 x 4 pooling overlap
    with torch.no_grad():
        whole = average.features(frames[0])
        assert whole.shape == (2, 32, 6, 4)
        torch.testing.assert_close(average(frames)[0], whole.flatten(2).mean(-1))
        mean = Backbone("conv4", normalise="none").eval()
        mean.load_state_dict(average.state_dict())
        assert (mean(frames) > average(frames)).float().mean() > 0.5


def test_motion_does_not_see_what_stands_still():
    torch.manual_seed(0)
    backbone = Backbone("conv4", normalise="motion").eval()
    moving, background = 0.4 * torch.rand(2, 4, 3, 32, 32), 0.5 * torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        alone = backbone(moving)
        torch.testing.assert_close(backbone(moving + background), alone, rtol=1e-4, atol=1e-5)
        still = backbone(background.expand(2, 4, 3, 32, 32))
        nothing = backbone(torch.zeros(2, 4, 3, 32, 32))
        by_hand = backbone.pool(backbone.maps(moving[0] - moving[0].mean(0))).mean((-2, -1))
    torch.testing.assert_close(still, nothing, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone[0], by_hand, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(NORMALISATION) - {"motion"}))
def test_normalisation_is_inside(small, name):
    other = Backbone("mobilenet_v3_small", normalise=name).eval()
    other.load_state_dict(
        small.state_dict()
    )  # mean and std are not saved: they belong to the model's description
    frames = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in NORMALISATION[name] or IMAGENET)
    with torch.no_grad():
        torch.testing.assert_close(other(frames), small((frames - mean) / std), rtol=1e-4, atol=1e-5)


def test_frames_do_not_mix_in_evaluation(small):
    frames = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(small(frames)[2:3], small(frames[2:3]), rtol=1e-4, atol=1e-5)


def test_keys_are_those_of_released_students(small):
    assert {name.split(".")[0] for name in small.state_dict()} == {"features"}
    whole = tv.mobilenet_v3_small(weights=None).state_dict()
    expected = {
        f"features.0.{name.removeprefix('features.')}" for name in whole if name.startswith("features.")
    }
    assert set(small.state_dict()) == expected
    resnet = Backbone("resnet18").state_dict()
    assert "features.0.weight" in resnet
    assert "features.4.0.conv1.weight" in resnet
    assert not any(name.startswith("features.8") for name in resnet)


def test_weights_file_is_loaded(tmp_path):
    torch.manual_seed(3)
    whole = tv.mobilenet_v3_small(weights=None)
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    backbone = Backbone("mobilenet_v3_small", weights=str(tmp_path / "w.pt"))
    for one, other in zip(backbone.features[0].parameters(), whole.features.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("error", [URLError("Name or service not known"), RuntimeError("invalid hash value")])
def test_without_a_network_the_ways_out_are_told(monkeypatch, tmp_path, error):
    def fetch(*_, **__):
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with pytest.raises(CheckpointError) as caught:
        Backbone("resnet18", weights="imagenet")
    told = str(caught.value)
    assert told.startswith("backbone weights ResNet18_Weights.IMAGENET1K_V1: cannot be downloaded")
    for part in (str(error), "resnet18-", str(tmp_path / "hub" / "checkpoints"), "state dict", "`none`"):
        assert part in told
    assert "\n" not in told


def test_bad_weights_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"backbone weights .*none\.pt: no such file; give the path"):
        Backbone("resnet18", weights=str(tmp_path / "none.pt"))
    torch.save(tv.mobilenet_v3_small(weights=None).state_dict(), tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match=r"small\.pt: not a torchvision resnet18 state dict"):
        Backbone("resnet18", weights=str(tmp_path / "small.pt"))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.pt: not a torchvision resnet18 state dict"):
        Backbone("resnet18", weights=str(tmp_path / "text.pt"))
