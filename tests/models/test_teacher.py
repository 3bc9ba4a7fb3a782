"""Fusion: which frame meets which, any number of modalities, one function for every use."""

import pytest
import torch
from torch import nn

from litemkd.models.heads import FRAME, TRX
from litemkd.models.teacher import SHIFTS, Fusion, FusionPath, Teacher

NAMES = ("rgb", "flow", "depth", "skeleton")
FRAMES, WIDTH = 5, 8


def fusion_of(count=3, shift="opposite", dropout=0.1, **more):
    torch.manual_seed(0)
    return Fusion(
        NAMES[:count], WIDTH, frames=FRAMES, shift=shift, layers=1, feed_forward=16, dropout=dropout, **more
    )


def streams(count=3, videos=4):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(videos, FRAMES, WIDTH, generator=generator) for name in NAMES[:count]}


class Recorder(nn.Module):
    """Stands in for a path: notes what it is given, gives zeros."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, given):
        self.calls.append([x.clone() for x in given])
        return torch.zeros_like(given[0])


# which frame of the other modality stands beside frame t of the first one: t + 1 (next), t, or t - 1
NEXT, SAME, LAST = 1, 0, -1
MEETS = {
    "opposite": [NEXT, LAST, NEXT],
    "none": [SAME, SAME, SAME],
    "published-train": [NEXT, SAME, NEXT],
    "published-extract": [NEXT, NEXT, NEXT],
}


def test_all_shifts_are_known_here():
    assert set(MEETS) == set(SHIFTS)


@pytest.mark.parametrize("shift", MEETS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_who_meets_whom(shift, count):
    fusion = fusion_of(count, shift)
    fusion.all, fusion.pair = Recorder(), Recorder()
    given = {name: torch.arange(FRAMES).view(1, -1, 1) + 100.0 * m for m, name in enumerate(NAMES[:count])}
    fusion(given)
    (together,) = fusion.all.calls
    for x, name in zip(together, NAMES[:count], strict=True):
        assert torch.equal(x, given[name])  # unshifted, in the order of the names
    assert len(fusion.pair.calls) == count - 1
    for other, (meets, call) in enumerate(zip(MEETS[shift][: count - 1], fusion.pair.calls, strict=True), 1):
        first, second = (x.flatten().tolist() for x in call)
        assert first == list(range(FRAMES))
        assert second == [100 * other + (t + meets) % FRAMES for t in range(FRAMES)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_modalities(count):
    fusion = fusion_of(count).eval()
    given = streams(count)
    fused = fusion(given)
    assert fused.shape == (4, FRAMES, WIDTH)
    expected = fusion.all(list(given.values()))
    for name, turn in zip(NAMES[1:count], (-1, 1, -1), strict=False):
        expected = expected + fusion.pair([given["rgb"], given[name].roll(turn, 1)])
    torch.testing.assert_close(fused, expected)
    fused.sum().backward()
    assert all(weight.grad is not None for weight in fusion.parameters())


def test_one_pair_module_serves_all_pairs():
    assert len([m for m in fusion_of(4).modules() if isinstance(m, FusionPath)]) == 2
    assert fusion_of(1).pair is None


def test_modalities_are_taken_by_name_not_position():
    fusion, given = fusion_of().eval(), streams()
    turned = dict(reversed(given.items())) | {"skeleton": torch.zeros(1)}
    assert torch.equal(fusion(given), fusion(turned))
    with pytest.raises(KeyError, match="depth"):
        fusion({"rgb": given["rgb"], "flow": given["flow"]})


def test_shifts_give_different_features():
    given = streams()
    fused = [fusion_of(shift=shift).eval()(given) for shift in SHIFTS]
    for place, one in enumerate(fused):
        for other in fused[place + 1 :]:
            assert (one - other).abs().max() > 1e-3


def test_path_by_its_formula():
    """LayerNorm(f + E) of each stream, side by side, an encoder with a head a stream, a linear layer back."""
    torch.manual_seed(0)
    path = FusionPath(2, WIDTH, frames=FRAMES, layers=2, feed_forward=16, dropout=0.1).double().eval()
    a, b = torch.randn(2, 3, FRAMES, WIDTH, dtype=torch.float64)
    parts = []
    for m, x in enumerate((a, b)):
        placed = x + path.position[m]
        scaled = (placed - placed.mean(-1, keepdim=True)) / (
            placed.var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        parts.append(scaled * path.norms[m].weight + path.norms[m].bias)
    x = torch.cat(parts, -1)
    size = 2 * WIDTH
    for layer in path.encoder.layers:
        assert layer.self_attn.num_heads == 2
        q, k, v = (x @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).split(size, -1)
        heads = []
        for part in (slice(0, WIDTH), slice(WIDTH, size)):
            weights = (q[..., part] @ k[..., part].transpose(1, 2) / WIDTH**0.5).softmax(-1)
            heads.append(weights @ v[..., part])
        out = layer.self_attn.out_proj
        x = layer.norm1(x + torch.cat(heads, -1) @ out.weight.T + out.bias)  # the norm comes after
        x = layer.norm2(x + layer.linear2(layer.linear1(x).relu()))
    torch.testing.assert_close(path([a, b]), path.project(x), rtol=0, atol=1e-10)


def test_dropout_is_active_in_training_only():
    fusion, given = fusion_of(), streams()
    assert not torch.equal(fusion(given), fusion(given))
    fusion.eval()
    assert torch.equal(fusion(given), fusion(given))


def test_videos_do_not_mix():
    fusion, given = fusion_of().eval(), streams()
    alone = fusion({name: x[2:3] for name, x in given.items()})
    torch.testing.assert_close(fusion(given)[2:3], alone)


def test_fuse_is_one_function_with_and_without_gradient():
    """Without gradient torch takes another path through the encoder; the features must not depend on that."""
    teacher = Teacher(fusion_of(), TRX(WIDTH, width=6, frames=FRAMES)).eval()
    given = streams()
    trained = teacher.fuse(given)
    assert trained.requires_grad
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(teacher.fuse(given), trained.detach(), rtol=1e-5, atol=1e-5)


def test_teacher_logits_are_the_heads_on_fused_features():
    teacher = Teacher(fusion_of(), TRX(WIDTH, width=6, frames=FRAMES)).eval()
    fused = teacher.fuse(streams(videos=6))
    support, labels, query = torch.tensor([[5, 0, 2]]), torch.tensor([[1, 0, 1]]), torch.tensor([[1, 3]])
    logits = teacher(fused, support, labels, query, 2)
    torch.testing.assert_close(logits[FRAME], teacher.head(fused[support], labels, fused[query], 2))
    assert logits[FRAME].shape == (1, 2, 2)
