"""CLIP-FSAR's head against plain loops, with and without text features."""

import pytest
import torch

from litemkd.errors import EpisodeError
from litemkd.models.heads import ClipFSAR
from tests.models.heads.slow import (
    LABELS,
    WAY,
    cosine_distances,
    episodes,
    judged,
    layer,
    mean_video,
    of_class,
    unlike_defaults,
)
from tests.models.heads.test_otam import recursion, transpose

FRAMES, DIM = 3, 6


def build(smoothing=0.1):
    torch.manual_seed(5)
    return unlike_defaults(ClipFSAR(DIM, frames=FRAMES, smoothing=smoothing, attention_heads=2))


def judge(head, support, labels, asked, text=None):
    own = layer(head.layer, asked)
    if text is None:
        held = [layer(head.layer, video) for video in support]
    else:
        named = [[*video, text[label]] for video, label in zip(support, labels, strict=True)]
        held = [layer(head.layer, video)[:FRAMES] for video in named]
    logits = []
    for c in range(WAY):
        prototype = torch.tensor(mean_video(of_class(held, labels, c)))
        d = cosine_distances(torch.tensor(own, dtype=torch.float64), prototype)
        logits.append(-recursion(d, head.smoothing) - recursion(transpose(d), head.smoothing))
    return {"frame": logits}


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, smoothing):
    head, episode = build(smoothing), episodes(labels, FRAMES, DIM)
    with torch.no_grad():
        found = head(*episode, WAY)
        expected = judged(*episode, lambda *one: judge(head, *one))["frame"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)


def test_features_of_class_names_modulate_the_supports():
    head = build()
    support, labels, query = episodes(LABELS["unequal shots"], FRAMES, DIM)
    text = torch.randn(WAY, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        codes = head.encode_with_text(support, text[labels])
        found = head.match(codes, labels, head.encode(query), WAY)
        expected = judged(support, labels, query, lambda *one: judge(head, *one, text=text.tolist()))["frame"]
        assert codes.shape == head.encode(support).shape
        assert not torch.allclose(found, head(support, labels, query, WAY))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)


def test_text_of_another_form_is_refused():
    head = build()
    features = torch.zeros(2, 6, FRAMES, DIM, dtype=torch.float64)
    for text in (
        torch.zeros(2, WAY, DIM),
        torch.zeros(2, 6, DIM + 1),
        torch.zeros(2, 6, DIM, dtype=torch.long),
    ):
        with pytest.raises(EpisodeError, match=r"^text: torch\..* would do$"):
            head.encode_with_text(features, text)
    with pytest.raises(EpisodeError, match=r"^features: shape"):
        head.encode_with_text(features[..., :-1], torch.zeros(2, 6, DIM))


def test_the_transformer_knows_no_order():
    head = build()
    video = episodes(LABELS["one shot"], FRAMES, DIM)[0][0, :1]
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        head.encode(video[:, order]), head.encode(video)[:, order], rtol=1e-9, atol=1e-12
    )


def test_dropout_is_active_in_training_only():
    head, episode = build(), episodes(LABELS["one shot"], FRAMES, DIM)
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))
    head.train()
    assert not torch.equal(head(*episode, WAY), head(*episode, WAY))
