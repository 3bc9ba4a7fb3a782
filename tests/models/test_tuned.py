"""Which weights of a backbone are trained: exactly those that were asked for, and the start is as it was."""

import copy

import pytest
import torch
from torch import nn

from litemkd.errors import BackboneError
from litemkd.models.adapters import LowRank, attention_weights, merge
from litemkd.models.backbones import Backbone
from litemkd.models.experts import Expert, WholeClips
from litemkd.models.folding import fold_norms
from litemkd.models.heads import TRX
from litemkd.models.student import LABEL, Student
from litemkd.models.tuned import Given, blocks_of, counted, tune
from litemkd.models.tuning import Tuning

FRAMES, SIDE, WIDTH = 2, 32, 6
VIT, RESNET = "timm:vit_tiny_patch16_224", "timm:resnet10t"


class Whole(Expert):
    """Of two blocks."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))])

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.flatten(0, 1)
        for block in self.blocks:
            x = block(x)
        return x.mean((-2, -1)).unflatten(0, clips.shape[:2])


def expert_of(name, told="all"):
    torch.manual_seed(0)
    backbone = WholeClips(Whole()) if name == "whole" else Backbone(name)
    head = TRX(WIDTH, width=4, frames=FRAMES)
    expert = Student(backbone, head, width=WIDTH, branches=(LABEL,))
    tune(expert, Tuning.read(told))
    return expert


def trained(expert):
    return {name for name, weight in expert.backbone.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("text", ["", "none", "last", "last:0", "lora:-1", "last:1.5", "all:2", "frozen:1"])
def test_what_is_no_way_is_told(text):
    with pytest.raises(ValueError, match="`all`, `frozen`, `last:N`"):
        Tuning.read(text)


@pytest.mark.parametrize("text", ["all", "frozen", "last:12", "lora:8"])
def test_a_way_reads_as_it_is_written(text):
    assert str(Tuning.read(text)) == text


@pytest.mark.parametrize(
    ("name", "told", "first", "count"),
    [
        ("resnet18", "last:2", "features.7.0.", 9),
        ("resnet18", "last:9", "features.0.", 9),
        (VIT, "last:3", "features.body.blocks.9.", 12),
        (RESNET, "last:1", "features.body.layer4.", 6),
        ("torchvision:vit_b_32", "last:1", "features.encoder.layers.encoder_layer_11.", 12),
        ("timm:efficientnet_b0", "last:1", "features.body.blocks.6.0.", 16),
        ("whole", "last:1", "model.blocks.1.", 2),
    ],
)
def test_the_last_blocks_are_trained_and_what_stands_behind_them(name, told, first, count):
    expert = expert_of(name, told)
    assert len([one for one in blocks_of(expert.backbone) if any(True for _ in one.parameters())]) == count
    names = [one for one, _ in expert.backbone.named_parameters()]
    place = next(place for place, one in enumerate(names) if one.startswith(first))
    assert trained(expert) == set(names[place:])
    expert.train()
    for one, part in expert.backbone.named_modules():
        if list(part.parameters()) and not list(part.children()):
            assert part.training == any(f"{one}.{x}" in names[place:] for x, _ in part.named_parameters()), one


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        ("resnet18", "last:10", "it has 9 blocks, `last:9` or fewer, or `all`, would do"),
        (VIT, "last:13", "it has 12 blocks"),
        ("resnet18", "lora:4", "no linear maps of attention, a vision transformer, or `last:N`, would do"),
        ("whole", "lora:4", "no linear maps of attention"),
        (VIT, "lora:193", "the narrowest of its maps has 192 numbers"),
    ],
)
def test_what_a_backbone_does_not_have_is_told(name, told, words):
    with pytest.raises(BackboneError, match=words) as caught:
        expert_of(name, told)
    assert (caught.value.setting, caught.value.given) == ("tune", told)


@pytest.mark.parametrize("told", ["frozen", "last:1", "lora:2"])
def test_what_is_not_trained_stays_to_the_bit_norms_among_it(told):
    expert = expert_of(VIT if "lora" in told else RESNET, told).train()
    before = copy.deepcopy(expert.state_dict())
    wanted = trained(expert)
    optimizer = torch.optim.SGD([x for x in expert.parameters() if x.requires_grad], lr=1.0)
    for _ in range(2):
        features = expert.branch_features(expert.frame_features(torch.rand(3, FRAMES, 3, SIDE, SIDE)))[LABEL]
        features.square().sum().backward()
        optimizer.step()
    after = expert.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("backbone.")} >= {f"backbone.{one}" for one in wanted}
    held = {name for name in moved if name.startswith("backbone.") and name[9:] not in wanted}
    assert all("layer4" in name for name in held), held  # running statistics of the trained block
    assert any(name.startswith("branches.") for name in moved)
    inner = copy.deepcopy(expert).train()
    assert [x.training for x in inner.modules()] == [x.training for x in expert.modules()]


@pytest.mark.parametrize("name", [VIT, "torchvision:vit_b_32", "timm:swin_tiny_patch4_window7_224"])
def test_adapters_begin_as_the_network_and_are_merged_into_it(name):
    plain, adapted = expert_of(name).eval(), expert_of(name, "lora:3").eval()
    frames = torch.rand(1, FRAMES, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = plain.frame_features(frames)
        assert torch.equal(adapted.frame_features(frames), expected)
        found = [part for part in adapted.modules() if isinstance(part, LowRank)]
        assert len(found) == len(list(attention_weights(plain.backbone))) >= 24
        assert trained(adapted) == {
            one for one, _ in adapted.backbone.named_parameters() if one.endswith((".up", ".down"))
        }
        for one in found:
            one.up.normal_(0, 0.05)
        changed = adapted.frame_features(frames)
        assert (changed - expected).abs().max() > 0.01
        torch.testing.assert_close(fold_norms(adapted.backbone)(frames), changed, rtol=1e-5, atol=1e-5)
        merge(adapted.backbone)
        torch.testing.assert_close(adapted.frame_features(frames), changed, rtol=1e-5, atol=1e-5)
    assert adapted.state_dict().keys() == plain.state_dict().keys()
    assert type(adapted) is type(plain)


def test_weights_are_counted():
    assert counted(expert_of("conv4"))["params/trained_m"] == counted(expert_of("conv4"))["params/all_m"]
    frozen = expert_of("conv4", "frozen")
    rest = sum(x.numel() for part in (frozen.branches, frozen.head) for x in part.parameters())
    assert counted(frozen)["params/trained_m"] == rest / 1e6


def test_what_stands_behind_a_frozen_backbone_is_the_expert_s_own():
    expert = expert_of("conv4", "frozen")
    behind = expert.behind(Given(expert.backbone)).train()
    assert behind.head is expert.head
    assert behind.head.training
    assert not any(name.startswith("backbone") for name in behind.state_dict())
    features = torch.rand(2, FRAMES, 32)
    assert torch.equal(
        behind.branch_features(behind.backbone(features))[LABEL], expert.branches[LABEL](features)
    )
    assert isinstance(expert.backbone, Backbone)
