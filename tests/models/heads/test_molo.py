"""MoLo against plain loops: both branches, and the long-short contrast that only training has."""

import math
from itertools import pairwise

import pytest
import torch

from litemkd.losses import LABELS as LABELS_ALONE
from litemkd.losses.lesson import Lesson
from litemkd.models.heads import MoLo
from litemkd.models.student import LABEL
from tests.models.heads.slow import (
    LABELS,
    WAY,
    add,
    cosine,
    episodes,
    judged,
    layer,
    linear,
    mean_video,
    nearest_frames,
    of_class,
    placed,
    relu,
    unlike_defaults,
)

FRAMES, DIM = 4, 6


def build(motion=0.3, frames=FRAMES, dim=DIM):
    torch.manual_seed(5)
    return unlike_defaults(MoLo(dim, frames=frames, attention_heads=2, motion=motion))


def moved(part, video):
    """What moves between a frame and the next."""
    kernel, bias = part.reduce.weight.tolist(), part.reduce.bias.tolist()  # (narrow, D, 3)
    empty = [0.0] * len(video[0])
    around = [empty, *video, empty]
    reduced = [
        [
            math.fsum(w[i][k] * around[t + k][i] for i in range(len(w)) for k in range(3)) + b
            for w, b in zip(kernel, bias, strict=True)
        ]
        for t in range(len(video))
    ]
    found = []
    for before, after in pairwise(reduced):
        difference = add(linear(part.shift, after), [-value for value in before])
        found.append(relu(linear(part.up, difference)))
    return found


def tokened(part, rows):
    return [relu(x) for x in layer(part.layer, placed([*part.token.tolist(), *rows]))]


def branches(head, video):
    return tokened(head.of_frames, video), tokened(head.of_motion, moved(head.difference, video))


def judge(head, support, labels, asked):
    own, held = branches(head, asked), [branches(head, video) for video in support]
    parts = {name: [] for name in ("frame", *MoLo.training_parts)}
    for c in range(WAY):
        rows = [mean_video([video[i] for video in of_class(held, labels, c)]) for i in range(2)]
        far, moving = (nearest_frames(own[i][1:], rows[i][1:], 0.01) for i in range(2))
        parts["frame"].append(-far - head.motion * moving)
        for i, branch in enumerate(("frame", "motion")):
            token, of_class_ = own[i][0], rows[i][1:]
            parts[f"{branch}: class's frames, query's token"].append(
                -math.fsum(1 - cosine(x, token, 0.01) for x in of_class_)
            )
            parts[f"{branch}: query's frames, class's token"].append(
                -math.fsum(1 - cosine(x, rows[i][0], 0.01) for x in own[i][1:])
            )
    return parts


def without_dropout(head):
    """In training mode, as it is without chance."""
    for part in head.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return head.train()


@pytest.mark.parametrize("motion", [0.3, 2.0])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, motion):
    head, (support, given, query) = build(motion), episodes(labels, FRAMES, DIM)
    with torch.no_grad():
        expected = judged(support, given, query, lambda *one: judge(head, *one))
        found = head.match_parts(head.encode(support), given, head.encode(query), WAY)
        assert set(found) == {"frame"}
        taught = without_dropout(head)
        found = taught.match_parts(taught.encode(support), given, taught.encode(query), WAY)
    assert set(found) == set(head.loss_parts) == set(expected)
    for name, logits in expected.items():
        assert logits.std() > 1e-4
        torch.testing.assert_close(found[name], logits, rtol=1e-9, atol=1e-10)


def test_wide_features_become_an_eighth_where_motion_is_looked_for():
    assert build(dim=256).difference.reduce.weight.shape == (32, 256, 3)
    assert build(dim=64).difference.reduce.weight.shape == (16, 64, 3)
    assert build(dim=6).difference.reduce.weight.shape == (6, 6, 3)


def test_the_contrast_counts_in_the_loss_and_not_in_the_prediction():
    head, (support, labels, query) = without_dropout(build()), episodes(LABELS["one shot"], FRAMES, DIM)
    targets = torch.tensor([[0, 1, 2], [2, 1, 0]])
    parts = head.match_parts(head.encode(support), labels, head.encode(query), WAY)
    torch.testing.assert_close(head.predict(parts), parts["frame"])
    found = LABELS_ALONE(Lesson({LABEL: parts}, targets, head.loss_parts)).values["ce"]

    def entropy(logits):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    contrast = sum(entropy(logits) for name, logits in parts.items() if name != "frame")
    torch.testing.assert_close(found, entropy(parts["frame"]) + 0.05 * contrast)
    alone = torch.autograd.grad(contrast, head.of_motion.token, retain_graph=True)[0]
    assert alone.abs().max() > 1e-9


def test_a_single_frame_is_refused():
    with pytest.raises(ValueError, match="frames: 1 given; at least 2 would do"):
        MoLo(8, frames=1)


def test_dropout_is_active_in_training_only():
    head, episode = build(), episodes(LABELS["one shot"], FRAMES, DIM)
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))
    head.train()
    assert not torch.equal(head(*episode, WAY), head(*episode, WAY))
