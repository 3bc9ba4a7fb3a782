"""TEAM against plain loops over tokens, classes and the other classes; and by hand."""

import math

import pytest
import torch

from litemkd.models.heads import TEAM
from tests.models.heads.slow import (
    LABELS,
    WAY,
    add,
    cosine,
    dot,
    episodes,
    judged,
    layer_norm,
    linear,
    mean,
    mean_video,
    of_class,
    placed,
    relu,
    softmax,
    unlike_defaults,
)

FRAMES, DIM, PATTERNS = 3, 6, 4


def build(patterns=PATTERNS):
    torch.manual_seed(5)
    return unlike_defaults(TEAM(DIM, frames=FRAMES, patterns=patterns))


def attended(head, video):
    """A: what each token finds."""
    keys = [layer_norm(head.norm, x) for x in placed(video)]
    found = []
    for token in head.tokens.tolist():
        query = layer_norm(head.norm, token)
        shares = softmax([dot(query, key) / math.sqrt(DIM / 8) for key in keys])
        found.append([dot(shares, [key[i] for key in keys]) for i in range(DIM)])
    return found


def told(head, token, found):
    y = add(token, found)
    return relu(add(y, linear(head.mlp[2], relu(linear(head.mlp[0], y)))))


def negative(x):
    return [-value for value in x]


def plain_tokens(head, video):
    found, tokens = attended(head, video), head.tokens.tolist()
    return (
        [told(head, p, a) for p, a in zip(tokens, found, strict=True)],
        [told(head, p, negative(a)) for p, a in zip(tokens, found, strict=True)],
    )


def adapted_tokens(head, classes):
    """Of each class, instance and exclusive tokens without what it shares with the others."""
    found = [attended(head, video) for video in classes]
    before = [plain_tokens(head, video) for video in classes]
    whole = []
    for c, own in enumerate(found):
        kinds = []
        for kind in range(2):
            rows = []
            for m, token in enumerate(head.tokens.tolist()):
                versions = []
                for o, other in enumerate(found):
                    if o == c:
                        continue
                    alike = cosine(before[c][kind][m], before[o][kind][m])
                    beyond = [alike * (y - x) for x, y in zip(own[m], other[m], strict=True)]
                    value = add(own[m], negative(beyond))
                    versions.append(told(head, token, negative(value) if kind else value))
                rows.append(mean(*versions))
            kinds.append(rows)
        whole.append(kinds)
    return whole


def apart(one, other):
    return math.fsum(1 - cosine(a, b) for a, b in zip(one, other, strict=True))


def judge(head, support, labels, asked):
    classes = [mean_video(of_class(support, labels, c)) for c in range(WAY)]
    adapted, (instance, exclusive) = adapted_tokens(head, classes), plain_tokens(head, asked)
    parts = {"frame": [], "exclusive": []}
    for c in range(WAY):
        others = [adapted[o] for o in range(WAY) if o != c]
        parts["frame"].append(-apart(adapted[c][0], instance))
        one = max(apart(other[0], exclusive) for other in others)
        two = max(apart(other[1], instance) for other in others)
        parts["exclusive"].append(-(one + two) / 2)
    return parts


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels):
    head, (support, given, query) = build(), episodes(labels, FRAMES, DIM)
    with torch.no_grad():
        expected = judged(support, given, query, lambda *one: judge(head, *one))
        found = head.match_parts(head.encode(support), given, head.encode(query), WAY)
        total = head(support, given, query, WAY)
    assert set(found) == set(expected) == set(head.loss_parts)
    for name, logits in expected.items():
        assert logits.std() > 1e-3
        torch.testing.assert_close(found[name], logits, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(total, expected["frame"] + expected["exclusive"], rtol=1e-9, atol=1e-10)


def test_a_single_class_has_nothing_to_be_told_from():
    head, (support, _, query) = build(), episodes([[0, 0]], FRAMES, DIM)
    labels = torch.zeros(1, 2, dtype=torch.long)
    with torch.no_grad():
        parts = head.match_parts(head.encode(support), labels, head.encode(query), 1)
        instance, _ = plain_tokens(head, mean_video(support[0].tolist()))
        far = [apart(instance, plain_tokens(head, asked)[0]) for asked in query[0].tolist()]
    assert parts["frame"].flatten().tolist() == pytest.approx([-value for value in far], abs=1e-9)
    assert torch.equal(parts["exclusive"], torch.zeros_like(parts["frame"]))


def test_classes_that_are_one_share_all_and_lose_nothing():
    """Where A_o = A_c nothing lies between them, so the tokens stay; and all classes are equally near."""
    head, (support, _, query) = build(), episodes(LABELS["one shot"], FRAMES, DIM)
    support = support[:, :1].expand(-1, WAY, -1, -1)
    labels = torch.arange(WAY).expand(2, WAY)
    with torch.no_grad():
        classes = head._classes(head.encode(support), labels, WAY)
        instance, exclusive = plain_tokens(head, support[0, 0].tolist())
        logits = head(support, labels, query, WAY)
    torch.testing.assert_close(classes[0][0, 0], torch.tensor(instance, dtype=torch.float64))
    torch.testing.assert_close(classes[1][0, 0], torch.tensor(exclusive, dtype=torch.float64))
    torch.testing.assert_close(logits, logits[..., :1].expand_as(logits))


def test_relation_is_that_of_the_adapted_instance_tokens():
    head, (support, labels, query) = build(), episodes(LABELS["unequal shots"], FRAMES, DIM)
    with torch.no_grad():
        relation = head.relate(head.encode(support), labels, head.encode(query), WAY)
        classes = [mean_video(of_class(support[0].tolist(), labels[0].tolist(), c)) for c in range(WAY)]
        rows = [[x for token in kinds[0] for x in token] for kinds in adapted_tokens(head, classes)]
    expected = [cosine(a, b) for a in rows for b in rows]
    for q in range(3):
        assert relation[0, q].tolist() == pytest.approx(expected, abs=1e-9)


def test_dropout_is_active_in_training_only():
    head, episode = build(), episodes(LABELS["one shot"], FRAMES, DIM)
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))
    head.train()
    assert not torch.equal(head(*episode, WAY), head(*episode, WAY))
