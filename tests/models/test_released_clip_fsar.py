"""Files as the published code of CLIP-FSAR saves them: their head here, and what is refused."""

import pytest
import torch

from litemkd.errors import CheckpointError
from litemkd.models.heads import ClipFSAR
from litemkd.models.heads.otam import align
from litemkd.models.released import read_released
from litemkd.stages.import_weights import load_released

WIDTH, INNER, FRAMES = 16, 20, 8


def state_of(prefix="head.", layers=1):
    """Made-up weights by the names of the file; the visual tower is shortened."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) / 4

    state = {
        "scale": torch.ones(1),
        "backbone.conv1.weight": draw(3, 3, 2, 2),
        "backbone.proj": draw(24, WIDTH),
    }
    for layer in range(layers):
        base = f"context2.layers.{layer}."
        state |= {f"{base}0.norm.weight": 1 + draw(WIDTH), f"{base}0.norm.bias": draw(WIDTH)}
        state |= {f"{base}0.fn.to_{one}.weight": draw(WIDTH, WIDTH) for one in "qkv"}
        state |= {f"{base}0.fn.to_out.0.weight": draw(WIDTH, WIDTH), f"{base}0.fn.to_out.0.bias": draw(WIDTH)}
        state |= {f"{base}1.net.0.weight": draw(INNER, WIDTH), f"{base}1.net.0.bias": draw(INNER)}
        state |= {f"{base}1.net.3.weight": draw(WIDTH, INNER), f"{base}1.net.3.bias": draw(WIDTH)}
    return {prefix + name: tensor for name, tensor in state.items()}


def published(state, video, prefix):
    """The Transformer of the file on one video (T, D): 8 heads, one after the other."""
    own = {name.removeprefix(f"{prefix}context2.layers.0."): x.double() for name, x in state.items()}
    normed = torch.nn.functional.layer_norm(video, (WIDTH,), own["0.norm.weight"], own["0.norm.bias"])
    query, key, value = (normed @ own[f"0.fn.to_{one}.weight"].T for one in "qkv")
    seen = []
    for head in range(8):
        part = slice(head * WIDTH // 8, (head + 1) * WIDTH // 8)
        shares = (query[:, part] @ key[:, part].T / (WIDTH // 8) ** 0.5).softmax(-1)
        seen.append(shares @ value[:, part])
    x = video + torch.cat(seen, -1) @ own["0.fn.to_out.0.weight"].T + own["0.fn.to_out.0.bias"]
    inner = torch.nn.functional.gelu(x @ own["1.net.0.weight"].T + own["1.net.0.bias"])
    return x + inner @ own["1.net.3.weight"].T + own["1.net.3.bias"]


@pytest.mark.parametrize("prefix", ["head.", ""])
def test_its_logits_are_those_of_the_file(tmp_path, prefix):
    state = state_of(prefix)
    path = tmp_path / "clip_fsar.pyth"
    torch.save({"epoch": 7, "model_state": state, "optimizer_state": {}, "cfg": "TRAIN: …"}, path)
    bundle = load_released(path)
    head = bundle.teacher.head.double()
    assert isinstance(head, ClipFSAR)
    assert head.smoothing == 0.5
    videos = torch.randn(5, FRAMES, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        codes = head.encode(bundle.teacher.fuse({"rgb": videos}))
        expected = torch.stack([published(state, video, prefix) for video in videos])
        torch.testing.assert_close(codes, expected, rtol=1e-9, atol=1e-10)
        found = head.match(codes[None, :4], torch.tensor([[0, 1, 0, 1]]), codes[None, 4:], 2)
        for c in range(2):
            prototype = (expected[c] + expected[c + 2]) / 2
            lengths = expected[4].norm(dim=-1)[:, None] * prototype.norm(dim=-1) + 0.01
            table = 1 - expected[4] @ prototype.T / lengths
            torch.testing.assert_close(found[0, 0, c], -align(table, 0.5) - align(table.T, 0.5))


def test_what_is_left_out_is_told():
    found = read_released(state_of(), None, "it")
    assert found.words == f"teacher's head only, without a fusion, features of {WIDTH}, CLIP-FSAR, 8 frames"
    assert found.section["head"] == {
        "name": "clip_fsar",
        "smoothing": 0.5,
        "attention_heads": 8,
        "feed_forward": INNER,
    }
    assert found.notes[0].startswith("its visual tower (2 weights) is left out")
    assert "features of class names" in found.notes[1]
    assert not found.kept


def changed(**names):
    state = state_of()
    for name, value in names.items():
        key = "head.context2.layers.0." + name.replace("__", ".")
        state.pop(key, None)
        if value is not None:
            state[key] = value
    return state


REFUSED = {
    "several layers": (state_of(layers=2), "with a Transformer of the layers 0, 1; a single one, 0, would do"),
    "missing": (changed(**{"0__norm__bias": None}), "1 missing (first: context2.layers.0.0.norm.bias)"),
    "unknown": (changed(**{"0__fn__more": torch.ones(2)}), "1 unknown (first: context2.layers.0.0.fn.more)"),
    "another form": (
        changed(**{"0__fn__to_q__weight": torch.ones(3, WIDTH)}),
        "context2.layers.0.0.fn.to_q.weight is torch.float32 (3, 16); torch.float32 (16, 16) would do",
    ),
    "another type": (
        changed(**{"1__net__0__bias": torch.ones(INNER, dtype=torch.float16)}),
        "1.net.0.bias is torch.float16 (20,); torch.float32 (20,) would do",
    ),
    "not finite": (changed(**{"0__norm__bias": torch.full((WIDTH,), torch.nan)}), "has NaN or infinity in it"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_file_that_is_not_whole_is_refused(wrong):
    state, told = REFUSED[wrong]
    with pytest.raises(CheckpointError) as refused:
        read_released(state, None, "it")
    assert str(refused.value).startswith("it: this is CLIP-FSAR (head.context2.layers.0.")
    assert told in str(refused.value)


def test_it_is_no_student():
    with pytest.raises(CheckpointError, match=r"^it: holds CLIP-FSAR, whose head alone can be taken; imported"):
        read_released(state_of(), "student", "it")


def test_molo_is_told_by_its_name():
    with pytest.raises(
        CheckpointError, match=r"^it: this is MoLo \(head\.class_token_motion\), .*head\.name=molo"
    ):
        read_released({"head.class_token_motion": torch.zeros(1, 1, 4)}, None, "it")


@pytest.mark.parametrize("epoch", [None, "7", True])
def test_a_file_says_how_far_its_training_was(tmp_path, epoch):
    torch.save({"epoch": epoch, "model_state": state_of()}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=f"its epoch is {epoch!r}; a whole number would do"):
        load_released(tmp_path / "file")
