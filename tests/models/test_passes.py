"""Ways through a backbone: the same features, gradients and running statistics, whatever is kept in memory."""

import copy

import pytest
import torch
from torch import nn

from litemkd.errors import LitemkdError
from litemkd.models.backbones import Backbone
from litemkd.models.passes import Passes, blocks

NAMES = ["conv4", "resnet18", "mobilenet_v3_small", "efficientnet_b0"]
FRAMES = torch.rand(5, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def backbone_of(name, pooling="mean"):
    torch.manual_seed(0)
    return Backbone(name, pooling=pooling, normalise="centred").train()


def trained(backbone, passes):
    """Features, gradients and buffers after one step; dropout from one seed."""
    torch.manual_seed(1)
    features = passes(FRAMES)
    features.pow(2).sum().backward()
    gradients = {key: weight.grad for key, weight in backbone.named_parameters()}
    return {"features": features.detach(), **gradients, **dict(backbone.named_buffers())}


def same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-6 * float(value.abs().max() + 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at_once", [None, 2])
def test_computing_again_changes_nothing(name, at_once):
    kept, again = backbone_of(name), backbone_of(name)
    expected = trained(kept, Passes(kept, at_once=at_once))
    found = trained(again, Passes(again, at_once=at_once, recompute=True))
    same(found, expected)
    counts = [value for key, value in found.items() if key.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {1 if at_once is None else 3}
    assert all(norm.momentum for norm in again.modules() if isinstance(norm, nn.BatchNorm2d))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "places", "average"])
def test_parts_give_the_gradient_of_the_whole(pooling, recompute):
    whole, parts = backbone_of("resnet18", pooling).eval(), backbone_of("resnet18", pooling).eval()
    same(trained(parts, Passes(parts, at_once=2, recompute=recompute)), trained(whole, Passes(whole)))


def test_batch_norm_sees_the_parts_in_training():
    whole, parts = backbone_of("conv4"), backbone_of("conv4")
    features = Passes(parts, at_once=2)(FRAMES)
    assert not torch.allclose(features, Passes(whole)(FRAMES), rtol=1e-3)
    torch.testing.assert_close(features[2:4], copy.deepcopy(whole)(FRAMES[2:4]))


def kept_bytes(name, **how):
    """Bytes of what the backward pass finds kept."""
    backbone, kept = backbone_of(name), {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    passes = Passes(backbone, **how)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        passes(FRAMES)
    own = {x.untyped_storage().data_ptr() for x in (FRAMES, *backbone.parameters(), *backbone.buffers())}
    return sum(size for place, size in kept.items() if place not in own)


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_is_computed_again_is_not_kept(name):
    plain = kept_bytes(name)
    assert kept_bytes(name, recompute=True) < plain / 2
    assert kept_bytes(name, at_once=1, recompute=True) < plain / 20


@pytest.mark.parametrize("name", NAMES[1:])
def test_blocks_in_a_row_are_the_network(name):
    backbone = backbone_of(name).eval()
    found = blocks(backbone.features)
    assert len(found) > 3
    x = FRAMES[0]
    with torch.no_grad():
        expected = backbone.features(x)
        for block in found:
            x = block(x)
    assert torch.equal(x, expected)


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_compiled_is_the_same_and_the_names_are_unchanged():
    plain, compiled = backbone_of("conv4"), backbone_of("conv4")
    names = list(compiled.state_dict())
    passes = Passes(compiled, backend="eager")
    same(trained(compiled, passes), trained(plain, Passes(plain)))
    assert list(compiled.state_dict()) == names


def test_a_compiler_that_fails_is_told_in_one_line():
    def broken(graph, inputs):
        raise FileNotFoundError("no C++ compiler\nsecond line")

    with pytest.raises(
        LitemkdError, match=r"^train\.compile: .*no C\+\+ compiler.*train\.compile=false"
    ) as told:
        Passes(backbone_of("conv4"), backend=broken)(FRAMES)
    assert "\n" not in str(told.value)
