"""How backbones see motion: differences and shifts against plain loops, in every family, folded and counted."""

import copy

import pytest
import torch
from torch import nn

from litemkd.cost.episode import EpisodeSize, measure
from litemkd.errors import EpisodeError
from litemkd.models.backbones import Backbone
from litemkd.models.folding import fold_norms
from litemkd.models.heads import find_head
from litemkd.models.student import Student
from litemkd.models.temporal import Excitation, NoBlocksError, Shift, frame_differences, insert_shifts

FRAMES = torch.rand(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
# The number of residual blocks of each, as its paper draws it. conv4 has none: three of its layers are shifted.
BLOCKS = {
    "conv4": 3,
    "resnet18": 8,
    "resnet50": 16,
    "mobilenet_v3_small": 11,
    "efficientnet_b0": 16,
    "timm:tf_efficientnet_lite0": 16,
    "timm:convnext_atto": 12,
    "timm:vit_tiny_patch16_224": 12,
    "torchvision:vit_b_32": 12,
}


def test_differences_are_what_a_loop_finds():
    found = frame_differences(FRAMES)
    assert found.shape == FRAMES.shape
    for video, clip in zip(found, FRAMES, strict=True):
        for t in range(1, 4):
            torch.testing.assert_close(video[t], (clip[t] - clip[t - 1]).abs().sqrt())
        assert torch.equal(video[0], video[1])
    assert not frame_differences(FRAMES[:, :1]).any()


@pytest.mark.parametrize(("ways", "last"), [("both", False), ("past", False), ("both", True)])
def test_shifted_channels_are_what_a_loop_finds(ways, last):
    clips = torch.rand(3, 5, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    x = clips.flatten(0, 1)
    shift = Shift(5, ways, last=last)
    found = (shift(x.movedim(1, -1)).movedim(-1, 1) if last else shift(x)).unflatten(0, (3, 5))
    nothing = torch.zeros(2, 2)
    for video, clip in zip(found, clips, strict=True):
        for t in range(5):
            before = clip[t - 1] if t else [nothing] * 16
            after = clip[t + 1] if t < 4 else [nothing] * 16
            from_after, from_before = ([0, 1], [2, 3]) if ways == "both" else ([], [0, 1])
            for channel in range(16):
                wanted = after if channel in from_after else before if channel in from_before else clip[t]
                assert torch.equal(video[t][channel], wanted[channel])


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_of_a_family_is_shifted_and_frames_then_see_each_other(name):
    torch.manual_seed(0)
    backbone = Backbone(name, temporal="shift", frames=4).eval()
    assert sum(isinstance(part, Shift) for part in backbone.modules()) == BLOCKS[name]
    other = FRAMES.clone()
    other[:, 2] = 0
    with torch.no_grad():
        changed = (backbone(FRAMES) - backbone(other)).abs().amax((0, 2))
    assert (changed > 0).sum() > 1, "a change of one frame is seen by its neighbours"
    kept = Backbone(name).state_dict()
    assert len(kept) == len(backbone.state_dict()), "a shift has no weights"


@pytest.mark.parametrize("name", ["resnet18", "timm:repvgg_a0", "timm:mobileone_s0"])
def test_what_is_to_come_is_not_seen_by_a_causal_shift(name):
    torch.manual_seed(0)
    backbone = Backbone(name, temporal="difference+shift-causal", frames=4).eval()
    other = FRAMES.clone()
    other[:, 3] = 0
    with torch.no_grad():
        one, two = backbone(FRAMES), backbone(other)
    torch.testing.assert_close(one[:, :3], two[:, :3])
    assert not torch.equal(one[:, 3], two[:, 3])


@pytest.mark.parametrize("name", ["conv4", "resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("temporal", ["difference", "shift", "difference+shift-causal"])
def test_the_folded_form_is_the_same(name, temporal):
    torch.manual_seed(0)
    backbone = Backbone(name, temporal=temporal, frames=4)
    backbone.train()(FRAMES)  # running statistics that are not those of the start
    backbone.eval()
    folded = fold_norms(backbone)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(FRAMES), backbone(FRAMES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_excited_channels_are_what_a_loop_finds(last):
    torch.manual_seed(0)
    part = Excitation(5, 16, last=last)
    nn.init.normal_(part.expand.weight)
    clips = torch.rand(3, 5, 16, 4, 4)
    x = clips.flatten(0, 1)
    with torch.no_grad():
        found = (part(x.movedim(1, -1)).movedim(-1, 1) if last else part(x)).unflatten(0, (3, 5))
        for video, clip in zip(found, clips, strict=True):
            few = [part.reduce(frame[None]) for frame in clip]
            for t in range(5):
                change = part.look(few[t]) - few[t - 1] if t else torch.zeros_like(few[0])
                gate = torch.tanh(change.mean((2, 3))[0] @ part.expand.weight.T)
                torch.testing.assert_close(video[t], clip[t] * (1 + gate[:, None, None]), rtol=1e-4, atol=1e-5)
        tokens = Excitation(5, 16, last=True)
        assert torch.equal(tokens(x.flatten(2).mT), x.flatten(2).mT), "in the beginning it changes nothing"


@pytest.mark.parametrize("name", ["conv4", "resnet18", "timm:vit_tiny_patch16_224", "timm:repvgg_a0"])
def test_an_excited_network_begins_as_the_plain_one_and_then_sees_what_was_before(name):
    torch.manual_seed(0)
    backbone = Backbone(name, temporal="excite", frames=4).eval()
    parts = [part for part in backbone.modules() if isinstance(part, Excitation)]
    assert len(parts) == BLOCKS.get(name, len(parts)) > 2
    torch.manual_seed(0)
    plain = Backbone(name).eval()
    other = FRAMES.clone()
    other[:, 3] = 0
    with torch.no_grad():
        torch.testing.assert_close(backbone(FRAMES), plain(FRAMES), rtol=1e-4, atol=1e-5)
        for part in parts:
            nn.init.normal_(part.expand.weight)
        one, two = backbone(FRAMES), backbone(other)
        assert not torch.allclose(one, plain(FRAMES), rtol=1e-3)
        torch.testing.assert_close(one[:, :3], two[:, :3])
        torch.testing.assert_close(fold_norms(backbone)(FRAMES), one, rtol=1e-3, atol=1e-4)
    backbone.train()(FRAMES).sum().backward()
    assert all(part.reduce.weight.grad.abs().max() > 0 for part in parts)


def test_what_differences_between_layers_cost_is_counted():
    def cost(temporal):
        head = find_head("prototype")(32, frames=4)
        backbone = Backbone("conv4", temporal=temporal, frames=4)
        student = Student(backbone, head, width=None, branches=("label",))
        return measure(student, EpisodeSize(frames=4, size=64), device=torch.device("cpu"), latency=False)

    plain, excited = cost("none"), cost("difference+excite")
    frames = 4 * (5 * 5 + 5)
    # Of three layers at 32 x 32, 16 x 16 and 8 x 8 places: 32 channels to 8, 3 x 3 places of 8, 8 to 32.
    places = [32 * 32, 16 * 16, 8 * 8]
    assert excited.total.macs - plain.total.macs == frames * sum(
        one * (32 * 8 + 9 * 8) + 8 * 32 for one in places
    )
    added = 3 * (32 * 8 + 8 + 9 * 8 + 8 + 8 * 32 + 32)
    assert excited.params_m - plain.params_m == pytest.approx(added / 1e6)


def test_motion_costs_no_multiplications():
    def cost(temporal):
        head = find_head("prototype")(32, frames=4)
        backbone = Backbone("conv4", temporal=temporal, frames=4)
        student = Student(backbone, head, width=None, branches=("label",))
        return measure(student, EpisodeSize(frames=4, size=64), device=torch.device("cpu"), latency=False)

    plain = cost("none")
    for temporal in ("difference", "shift", "difference+shift"):
        assert cost(temporal).total == plain.total


def test_a_network_without_blocks_and_clips_of_another_length_are_refused():
    with pytest.raises(NoBlocksError):
        insert_shifts(nn.Sequential(nn.Conv2d(3, 8, 3)), 4, "both")
    backbone = Backbone("conv4", temporal="shift", frames=4)
    with pytest.raises(EpisodeError, match="clips of 3 given; 4"):
        backbone(FRAMES[:, :3])
    assert Backbone("conv4", temporal="difference")(FRAMES[:, :3]).shape == (2, 3, 32)


def test_weights_of_the_plain_network_go_into_the_shifted_one(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    whole = resnet18()
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    backbone = Backbone("resnet18", weights=str(tmp_path / "w.pt"), temporal="shift", frames=4)
    assert torch.equal(backbone.features[4][0].conv1[1].weight, whole.layer1[0].conv1.weight)
    again = copy.deepcopy(backbone)
    torch.testing.assert_close(again.eval()(FRAMES), backbone.eval()(FRAMES))
