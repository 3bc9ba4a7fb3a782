"""HyRSM against plain loops over frames, videos and tasks."""

import pytest
import torch

from litemkd.models.heads import HyRSM
from tests.models.heads.slow import (
    LABELS,
    WAY,
    add,
    attention,
    episodes,
    judged,
    layer_norm,
    mean,
    mean_video,
    nearest_frames,
    of_class,
    placed,
    relu,
    unlike_defaults,
)

FRAMES, DIM = 3, 6


def build(support="mean", heads=2, dim=DIM, frames=FRAMES):
    torch.manual_seed(5)
    return unlike_defaults(HyRSM(dim, frames=frames, support=support, attention_heads=heads))


def within(head, video):
    x = placed(video)
    seen = attention(head.within, [layer_norm(head.norm, frame) for frame in x])
    return [relu(add(frame, other)) for frame, other in zip(x, seen, strict=True)]


def fused(head, f, g):
    """W [f; g] + b with the two halves of W side by side."""
    whole = torch.cat([head.frame.weight, head.task.weight], dim=1).tolist()
    bias = head.frame.bias.tolist()
    return [
        sum(w * x for w, x in zip(row, [*f, *g], strict=True)) + b for row, b in zip(whole, bias, strict=True)
    ]


def related(head, videos):
    """h of the videos of one task."""
    means = [mean(*video) for video in videos]
    seen = attention(head.among, means)
    task = [relu(layer_norm(head.task_norm, add(m, s))) for m, s in zip(means, seen, strict=True)]
    return [[fused(head, frame, g) for frame in video] for video, g in zip(videos, task, strict=True)]


def judge(head, support, labels, asked):
    own, held = within(head, asked), [within(head, video) for video in support]
    if head.support == "mean":
        held = [mean_video(of_class(held, labels, c)) for c in range(WAY)]
        labels = list(range(WAY))
    *held, own = related(head, [*held, own])
    far = [nearest_frames(own, video) for video in held]
    return {"frame": [-mean(*[[d] for d in of_class(far, labels, c)])[0] for c in range(WAY)]}


@pytest.mark.parametrize("support", ["mean", "each"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, support):
    head, episode = build(support), episodes(labels, FRAMES, DIM)
    with torch.no_grad():
        found = head(*episode, WAY)
        expected = judged(*episode, lambda *one: judge(head, *one))["frame"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("dim", "heads"), [(7, 3), (5, 8), (4, 1)])
def test_any_width_may_be_shared_out_among_any_number_of_heads(dim, heads):
    head, episode = build(heads=heads, dim=dim), episodes(LABELS["one shot"], FRAMES, dim)
    with torch.no_grad():
        found = head(*episode, WAY)
        expected = judged(*episode, lambda *one: judge(head, *one))["frame"]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_classes_look_otherwise_to_each_query():
    head = build()
    support, labels, query = episodes(LABELS["unequal shots"], FRAMES, DIM)
    with torch.no_grad():
        relation = head.relate(head.encode(support), labels, head.encode(query), WAY)
        held, _ = head._related(head.encode(support), labels, head.encode(query), WAY)
    assert relation.shape == (2, 3, WAY * WAY)
    assert not torch.allclose(relation[:, 0], relation[:, 1])
    one, other = held[1, 2, 0].flatten(), held[1, 2, 1].flatten()
    expected = one @ other / (one.norm() * other.norm())
    torch.testing.assert_close(relation[1, 2, 1], expected, rtol=1e-9, atol=1e-10)


def test_relation_is_of_class_means_where_each_support_takes_part():
    head = build("each")
    support, labels, query = episodes(LABELS["unequal shots"], FRAMES, DIM)
    with torch.no_grad():
        relation = head.relate(head.encode(support), labels, head.encode(query), WAY)
        held, _ = head._related(head.encode(support), labels, head.encode(query), WAY)
    means = [held[0, 1][labels[0] == c].mean(0).flatten() for c in range(WAY)]
    expected = torch.stack([a @ b / (a.norm() * b.norm()) for a in means for b in means])
    torch.testing.assert_close(relation[0, 1], expected, rtol=1e-9, atol=1e-10)


def test_dropout_is_active_in_training_only():
    head, episode = build(), episodes(LABELS["one shot"], FRAMES, DIM)
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))
    head.train()
    assert not torch.equal(head(*episode, WAY), head(*episode, WAY))
