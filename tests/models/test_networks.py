"""Networks of torchvision and timm as backbones: any of them, by its name. Nothing is downloaded."""

import subprocess
import sys

import pytest
import timm
import torch
import torchvision.models as tv
from safetensors.torch import save_file
from torch import nn

from litemkd.cost.counting import count, meta, without_data
from litemkd.cost.episode import EpisodeSize, measure
from litemkd.errors import BackboneError, CheckpointError, EpisodeError
from litemkd.models.backbones import Backbone
from litemkd.models.catalogue import canonical, has_published_weights, is_backbone, near_backbones
from litemkd.models.cutting import SIDES, NoMapError, cut_timm, cut_torchvision, map_channels
from litemkd.models.folding import EvaluationForm, fold_norms
from litemkd.models.heads import TRX
from litemkd.models.networks import IMAGENET, build_network, published_normalisation
from litemkd.models.passes import Passes
from litemkd.models.student import Student
from tests.helpers import usual_first

# C of the last map, side of a small frame that they take, and whether folding leaves no batch norm.
NETWORKS = {
    "torchvision:mobilenet_v2": (1280, 32, True),
    "torchvision:shufflenet_v2_x0_5": (1024, 32, True),
    "torchvision:densenet121": (1024, 32, False),  # norms before convolutions stay
    "torchvision:mnasnet0_5": (1280, 32, True),
    "torchvision:squeezenet1_1": (512, 64, True),
    "torchvision:regnet_x_400mf": (400, 32, True),
    "torchvision:convnext_tiny": (768, 32, True),
    "torchvision:swin_t": (768, 32, True),
    "torchvision:vit_b_32": (768, 64, True),
    "torchvision:googlenet": (1024, 64, True),
    "timm:resnet10t": (512, 32, True),
    "timm:mobilenetv3_small_050": (288, 32, True),
    "timm:tf_efficientnet_b0": (1280, 32, True),
    "timm:convnext_atto": (320, 32, True),
    "timm:vit_tiny_patch16_224": (192, 64, True),
    "timm:deit_tiny_distilled_patch16_224": (192, 64, True),
    "timm:swin_tiny_patch4_window7_224": (768, 64, True),
    "timm:repvit_m0_9": (384, 64, True),
    "timm:mobilenetv4_conv_small_035": (336, 32, True),
    "timm:tf_efficientnet_lite0": (1280, 32, True),
    "timm:ghostnet_050": (480, 32, True),
    "timm:repghostnet_050": (480, 32, True),
    "timm:repvgg_a0": (1280, 32, True),
    "timm:mobileone_s0": (1024, 32, True),
    "timm:fastvit_t8": (768, 32, True),
}
# These are folded and counted in test_folding, too.
OTHER_FORM = ("timm:repghostnet_050", "timm:repvgg_a0", "timm:mobileone_s0", "timm:fastvit_t8")
FRAMES, WAY = 3, 2
LABELS, SUPPORT, QUERY = torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), torch.tensor([[2, 3]])


def student_of(name):
    torch.manual_seed(0)
    backbone = Backbone(name)
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return Student(backbone, TRX(16, width=8, frames=FRAMES), width=16)


def logits_of(form, codes):
    support, query = (
        {name: tuple(x[rows] for x in code) for name, code in codes.items()} for rows in (SUPPORT, QUERY)
    )
    return form.match(support, LABELS, query, WAY)


@pytest.mark.parametrize(
    "name", usual_first([one for one in NETWORKS if one not in OTHER_FORM], list(NETWORKS))
)
def test_a_network_by_its_name_trains_folds_and_is_counted(name):
    channels, side, all_folded = NETWORKS[name]
    student = student_of(name)
    backbone = student.backbone
    assert (backbone.out_channels, backbone.channels, backbone.shape) == (channels, channels, (channels,))
    frames = torch.rand(4, FRAMES, 3, side, side)

    student.eval()
    form = EvaluationForm(student)
    with torch.no_grad():
        assert backbone.maps(frames[0]).shape[:2] == (FRAMES, channels)
        assert backbone.pool(backbone.maps(frames[0])).shape == (FRAMES, channels, 4, 4)
        features = student.frame_features(frames)
        assert features.std() > 1e-6
        expected = student.predict(student(student.branch_features(features), SUPPORT, LABELS, QUERY, WAY))
        found = logits_of(form, form.encode(form.frame_features(frames)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert all_folded is not any(isinstance(part, nn.BatchNorm2d) for part in form.backbone.modules())

    size = EpisodeSize(way=WAY, shot=1, frames=FRAMES, size=side)
    cost = measure(student, size, device=torch.device("cpu"), latency=False)
    counted = cost.parts["backbone"]
    assert counted.macs == pytest.approx(counted.flops / 2, rel=0.25)  # thop does not see products in attention
    assert counted.macs > 1e5

    student.train()
    passes = Passes(backbone, at_once=2, recompute=True)
    logits = student.predict(student(student.branch_features(passes(frames)), SUPPORT, LABELS, QUERY, WAY))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 1])).backward()
    for key, weight in student.named_parameters():
        assert weight.grad is not None, key  # nothing is kept that is never trained
        assert torch.isfinite(weight.grad).all(), key


def family_of(name):
    return tv.get_model_builder(name).__module__.rpartition(".")[2]


def test_every_classification_network_of_torchvision_is_taken():
    """One of each family, the smallest; and of a family that comes later it is told."""
    smallest = {
        "alexnet": 256,
        "efficientnet_b1": 1280,
        "inception_v3": 2048,
        "maxvit_t": 512,
        "resnext50_32x4d": 2048,
        "regnet_y_128gf": 7392,  # it computes its widths with tensors
        "mobilenet_v3_small": 576,
        "swin_v2_t": 768,
        "vgg11_bn": 512,
    }
    with torch.device("meta"):  # no memory, little time
        assert {name: Backbone(f"torchvision:{name}").out_channels for name in smallest} == smallest
    tried = {
        family_of(name.removeprefix("torchvision:")) for name in [*smallest, *NETWORKS] if "timm" not in name
    }
    assert {family_of(name) for name in tv.list_models(module=tv)} == tried
    with pytest.raises(NoMapError, match="is of torchvision's family activation, which is not known here"):
        cut_torchvision(nn.ReLU())


def test_a_transformer_of_torchvision_is_the_published_one_at_its_own_size():
    torch.manual_seed(0)
    whole = tv.vit_b_32(weights=None).eval()
    seen = {}
    whole.encoder.register_forward_hook(lambda *call: seen.update(tokens=call[-1]))
    with torch.no_grad():
        whole(frames := torch.rand(2, 3, 224, 224))
        maps = cut_torchvision(whole)(frames)
    assert maps.shape == (2, 768, 7, 7)
    assert torch.equal(maps[:, :, 2, 5], seen["tokens"][:, 1 + 2 * 7 + 5])


@pytest.mark.parametrize("name", ["torchvision:vit_b_32", "timm:vit_tiny_patch16_224"])
def test_places_of_tokens_lie_where_they_were_seen(name):
    """What changes in the upper right of a frame that is wider than high changes most there."""
    torch.manual_seed(0)
    backbone = Backbone(name).eval()
    frames = torch.rand(1, 3, 128, 192)
    other = frames.clone()
    other[..., :32, -32:] = 1 - other[..., :32, -32:]
    with torch.no_grad():
        changed = (backbone.maps(frames) - backbone.maps(other))[0].norm(dim=0)
    rows, columns = changed.shape
    assert rows * 3 == columns * 2
    place = int(changed.argmax())
    assert place // columns < rows / 4
    assert place % columns >= columns * 5 / 6


def test_one_network_has_one_name():
    assert canonical("torchvision:resnet18") == "resnet18"
    assert canonical("timm:resnet18") == "timm:resnet18"
    assert canonical("torchvision:mobilenet_v2") == "torchvision:mobilenet_v2"
    both = Backbone("torchvision:resnet18"), Backbone("resnet18")
    assert list(both[0].state_dict()) == list(both[1].state_dict())


def test_timm_is_loaded_for_its_own_networks_only():
    """It takes seconds."""
    words = (
        "import sys; from litemkd.config import load_config; from litemkd.models.backbones import Backbone; "
    )
    words += "load_config(None, ['student.backbone.name=torchvision:mobilenet_v2']); Backbone('resnet18'); "
    done = subprocess.run(
        [sys.executable, "-c", f"{words} print('timm' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_names_that_there_are_not_get_the_nearest():
    assert is_backbone("timm:resnet18.a1_in1k")
    assert not any(
        map(is_backbone, ("timm:resnet18.none", "timm:nothing", "torchvision:conv4", "hub:resnet18"))
    )
    assert near_backbones("resnet19") == ["resnet18"]
    assert near_backbones("mobilenet_v2") == ["torchvision:mobilenet_v2"]
    assert near_backbones("convnext_tiny") == ["torchvision:convnext_tiny", "timm:convnext_tiny"]
    assert near_backbones("torchvision:mobilnet_v2")[0] == "torchvision:mobilenet_v2"
    assert near_backbones("timm:vit_tiny_patch16_225")[0] == "timm:vit_tiny_patch16_224"
    assert near_backbones("hub:convnext_tiny")[0] == "torchvision:convnext_tiny"
    assert not near_backbones("timm:?")


def test_frames_are_normalised_as_published_weights_want_it():
    for name in ("conv4", "torchvision:vit_b_32", "timm:resnet10t"):
        assert published_normalisation(name) == IMAGENET
    assert published_normalisation("timm:vit_tiny_patch16_224") == ((0.5,) * 3, (0.5,) * 3)
    for name in (
        "googlenet",
        "inception_v3",
    ):  # torchvision turns one into the other when its weights are there
        assert published_normalisation(f"torchvision:{name}") == ((0.5,) * 3, (0.5,) * 3)
    backbone = Backbone("timm:vit_tiny_patch16_224")
    assert backbone.mean.flatten().tolist() == [0.5] * 3
    assert {"mean", "std"} <= backbone.state_dict().keys()  # of weights whose name may mean others later
    assert not {"mean", "std"} & Backbone("torchvision:mobilenet_v2").state_dict().keys()
    assert Backbone("timm:vit_tiny_patch16_224", normalise="none").mean.flatten().tolist() == [0.0] * 3


def test_published_weights_are_asked_for_and_not_fetched_unasked(monkeypatch):
    assert has_published_weights("torchvision:mobilenet_v2")
    assert has_published_weights("timm:resnet18")
    assert not has_published_weights("timm:vit_base_patch32_plus_256")
    with pytest.raises(BackboneError) as refused:
        Backbone("timm:vit_base_patch32_plus_256", weights="imagenet")
    assert str(refused.value) == (
        "backbone weights: 'imagenet' given; timm:vit_base_patch32_plus_256 has none, `none` or a file would do"
    )

    def fetch(*_, **__):
        raise OSError("no network\nsecond line")

    monkeypatch.setattr("timm.models._builder.load_pretrained", fetch)
    with pytest.raises(CheckpointError) as caught:
        Backbone("timm:resnet10t", weights="imagenet")
    assert str(caught.value) == (
        "backbone weights timm:resnet10t: cannot be downloaded (no network). timm fetches them once and keeps "
        "them in its folder: give the path of a timm state dict as `weights`, or `none` for random ones"
    )


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_of_the_whole_network_is_loaded(tmp_path, ending):
    torch.manual_seed(3)
    whole, file = timm.create_model("resnet10t", pretrained=False), tmp_path / f"w.{ending}"
    save_file(whole.state_dict(), file) if ending == "safetensors" else torch.save(whole.state_dict(), file)
    backbone = Backbone("timm:resnet10t", weights=str(file))
    assert torch.equal(backbone.features.body.layer4[0].conv1.weight, whole.layer4[0].conv1.weight)
    file.write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=rf"w\.{ending}: not a timm resnet10t state dict \("):
        Backbone("timm:resnet10t", weights=str(file))


class Flat(nn.Module):
    """No map: one vector a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, frames):
        return self.layer(frames.mean((-2, -1)))


def test_what_makes_no_map_is_told():
    with pytest.raises(
        NoMapError, match=r"^makes \(2, 5\) of 2 frames of 64 x 64 pixels; a map \(2, C, h, w\) would do"
    ):
        map_channels(Flat())
    with pytest.raises(BackboneError) as refused:
        Backbone("timm:crossvit_9_240")
    assert str(refused.value) == (
        "backbone name: 'timm:crossvit_9_240' given; it makes list of a frame of 64 x 64 pixels, which is no "
        "map of 384 channels; another backbone would do"
    )
    assert SIDES[0] == 64
    with pytest.raises(BackboneError, match="of a frame of 224 x 224 pixels, which is no map of"):
        Backbone("timm:pit_ti_224")  # nothing is left of its places but the class token


def test_frames_of_a_size_that_a_network_does_not_take_are_told_when_it_is_made():
    assert Backbone("timm:cait_xxs24_224", side=224).out_channels == 192
    with pytest.raises(BackboneError) as refused:
        Backbone("timm:cait_xxs24_224", side=64)
    assert str(refused.value).startswith(
        "backbone crop: '64' given; timm:cait_xxs24_224 takes no frames of 64 x 64 pixels (Input height (64) "
    )
    assert str(refused.value).endswith("; another crop, or backbone, would do")


def test_a_map_of_one_place_keeps_no_places():
    for name, pooling in (("conv4", "flatten"), ("timm:mobilenetv3_small_050", "places")):
        with pytest.raises(BackboneError) as refused:
            Backbone(name, pooling=pooling, side=20)
        assert str(refused.value) == (
            f"backbone crop: '20' given; {name} makes a map of 1 x 1 of it, of which no places can be kept; a "
            "larger crop, another backbone, or `mean` as pooling and a head that does without places would do"
        )
        assert Backbone(name, pooling="mean", side=20).pooling == "mean"
        assert Backbone(name, pooling=pooling, side=64).pooling == pooling


@pytest.mark.parametrize(
    "name", ["torchvision:vit_b_32", "timm:vit_tiny_patch16_224", "timm:beit_base_patch16_224"]
)
def test_the_class_token_of_a_transformer_is_a_feature(name):
    with torch.device("meta" if "base" in name else "cpu"):  # no memory, no time
        torch.manual_seed(0)
        backbone = Backbone(name, pooling="token", side=224).eval()
        assert backbone.shape == (backbone.out_channels,)
        frames = torch.rand(1, 2, 3, 224, 224)
        with torch.no_grad():
            found = backbone(frames)
        assert found.shape == (1, 2, backbone.out_channels)
    if name == "timm:vit_tiny_patch16_224":
        with torch.no_grad():
            tokens = backbone.features.body.forward_features((frames[0] - backbone.mean) / backbone.std)
        torch.testing.assert_close(found[0], tokens[:, 0])
        student = Student(backbone, TRX(16, width=8, frames=2), width=16).eval()
        size = EpisodeSize(way=WAY, shot=1, frames=2, size=64)
        assert measure(student, size, device=torch.device("cpu"), latency=False).parts["backbone"].macs > 1e6
        with torch.no_grad():
            torch.testing.assert_close(fold_norms(backbone)(frames), found)


@pytest.mark.parametrize("name", ["conv4", "resnet18", "timm:resnet10t", "timm:swin_tiny_patch4_window7_224"])
def test_a_network_without_a_class_token_is_told(name):
    with pytest.raises(BackboneError) as refused, torch.device("meta"):
        Backbone(name, pooling="token")
    assert str(refused.value) == f"backbone pooling: 'token' given; {name} has no class token; `mean` would do"


def test_trying_a_network_changes_nothing():
    torch.manual_seed(0)
    whole = timm.create_model("resnet10t", pretrained=False)
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    assert all(torch.equal(value, before[key]) for key, value in cut_timm(whole).body.state_dict().items())
    network = build_network("timm:resnet10t", "none")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    assert map_channels(network, 64) == 512
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_windowed_attention_counts_its_linear_maps():
    """Both libraries have one network: counted of each, the same."""
    macs = []
    for name in ("torchvision:swin_t", "timm:swin_tiny_patch4_window7_224"):
        backbone = fold_norms(Backbone(name).eval())
        macs.append(count(without_data(backbone), meta(1, 1, 3, 64, 64))[1].macs)
    assert macs[0] == pytest.approx(macs[1], rel=0.01)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (
            torch.rand(4, 3, 3, 32, 32, 1),
            "frames: shape (4, 3, 3, 32, 32, 1) of torch.float32 given; (…, T, 3, H, W)",
        ),
        (
            torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8),
            "of torch.uint8 given; (…, T, 3, H, W) of floating-point",
        ),
        (torch.rand(3, 32, 32), "frames: shape (3, 32, 32) of torch.float32 given; "),
        (torch.rand(2, 3, 32, 32, 3), "frames: shape (2, 3, 32, 32, 3) of torch.float32 given; "),
    ],
)
def test_frames_of_another_form_are_refused(frames, told):
    with pytest.raises(EpisodeError) as refused:
        Backbone("conv4")(frames)
    assert told in str(refused.value)
