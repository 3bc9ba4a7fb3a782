"""The teacher: multi-modal fusion (MFM of Lite-MKD, ACM MM 2023) and a few-shot head on the fused features.

Every modality meets the others frame by frame in a small Transformer; besides all modalities together, the
first one (RGB) meets each other one alone, shifted by one frame, so that what is seen now stands beside what
moves next. The published code trains one function and extracts features with another; here `fuse` is the only
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from litemkd.models.heads import Code, Head
from litemkd.models.heads.checking import whole_numbers
from litemkd.models.names import NAMES, Names

# Frames by which the second, third, … modality is turned in its pair with the first one: -1 makes frame t take
# frame t + 1. `published-train` and `published-extract` are what the published code does in its two places.
SHIFTS: dict[str, tuple[int, int]] = {
    "opposite": (-1, 1),
    "none": (0, 0),
    "published-train": (-1, 0),
    "published-extract": (-1, -1),
}


class FusionPath(nn.Module):
    """One fusion path: M modalities of width D, concatenated per frame, then a Transformer over the frames."""

    def __init__(
        self, modalities: int, width: int, *, frames: int, layers: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(modalities, frames, width) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(modalities))
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            modalities * width,
            nhead=modalities,
            dim_feedforward=feed_forward,
            dropout=dropout,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.project = nn.Linear(modalities * width, width)

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """M tensors (V, T, D) -> (V, T, D)."""
        parts = [
            self.dropout(norm(stream + place))
            for stream, place, norm in zip(streams, self.position, self.norms, strict=True)
        ]
        return self.dropout(self.project(self.encoder(torch.cat(parts, dim=-1))))


class Fusion(nn.Module):
    """Fusion of one to four modalities into one feature a frame.

    Args:
        modalities: their names; the first one is paired with each of the others.
        width: D of every modality's features and of the result; or of each, by name, where they differ: then
            the others are projected to the width of the first one.
        frames: T.
        shift: a key of `SHIFTS`. With more than three modalities the two shifts take turns.
        layers, feed_forward, dropout: of the Transformer encoders.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int | Mapping[str, int],
        *,
        frames: int = 8,
        shift: str = "opposite",
        layers: int = 2,
        feed_forward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.widths = dict.fromkeys(modalities, width) if isinstance(width, int) else dict(width)
        self.width = width = self.widths[self.modalities[0]]
        self.turns = [SHIFTS[shift][place % 2] for place in range(len(self.modalities) - 1)]
        self.all = FusionPath(
            len(self.modalities),
            width,
            frames=frames,
            layers=layers,
            feed_forward=feed_forward,
            dropout=dropout,
        )
        self.pair = (
            FusionPath(2, width, frames=frames, layers=layers, feed_forward=feed_forward, dropout=dropout)
            if len(self.modalities) > 1
            else None
        )
        others = {name: nn.Linear(own, width) for name, own in self.widths.items() if own != width}
        self.align = nn.ModuleDict(others) if others else None

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(V, T, D) of each modality, by name -> (V, T, D)."""
        if self.align is not None:
            features = {**features, **{name: layer(features[name]) for name, layer in self.align.items()}}
        first, *others = (features[name] for name in self.modalities)
        fused = self.all([first, *others])
        for other, turn in zip(others, self.turns, strict=True):
            assert self.pair is not None
            fused = fused + self.pair([first, torch.roll(other, turn, dims=1)])
        return fused


class NoFusion(nn.Module):
    """In the place of a `Fusion` where there is one modality, whose features go to the head as they are.

    Args:
        modality: its name.
        width: D of its features.
    """

    def __init__(self, modality: str, width: int) -> None:
        super().__init__()
        self.modalities, self.width, self.widths = (modality,), width, {modality: width}

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(V, T, D) of the modality, by name -> (V, T, D)."""
        return features[self.modalities[0]]


class Teacher(nn.Module):
    """Fusion and head. `fuse` serves training, feature extraction and distillation alike.

    Args:
        fusion: of the modalities.
        head: on their fused features.
        names: how the names of the supports' classes count; None: it hears none.
    """

    def __init__(self, fusion: Fusion | NoFusion, head: Head, names: Names | None = None) -> None:
        super().__init__()
        self.fusion = fusion
        self.head = head
        self.names = names

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """(V, T, D) of each modality, by name -> fused features (V, T, D)."""
        return self.fusion(features)

    def encode(self, fused: Tensor, text: Tensor | None = None) -> Code:
        """Codes of videos, each both as a query, the first tensor, and as a support, the last one.

        Args:
            fused: (..., T, D).
            text: (..., D), for each video the feature of its class's name, where the teacher hears names. It
                is looked at in supports alone.

        Raises:
            EpisodeError: features or text of another form.
            ValueError: text for a teacher that hears no names, or none for one that does.
        """
        if (text is None) != (self.names is None):
            raise ValueError("features of class names are for a teacher that hears names, which needs them")
        code = self.head.encode(fused)
        if text is None:
            return (code,)
        return code, fused.mean(-2), text, self.head.encode_with_text(fused, text)

    def match_parts(self, support: Code, labels: Tensor, query: Code, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) by part from codes with leading axes (B, S) and (B, Q); as `Head.match_parts`."""
        parts = self.head.match_parts(support[-1], labels, query[0], way)
        if self.names is not None:
            parts = {**parts, NAMES: self.names.logits(support[2], labels, query[1], way)}
        return parts

    def match(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """The prediction, (B, Q, W); arguments as `match_parts`."""
        return self.predict(self.match_parts(support, labels, query, way))

    def relate(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """How classes look to one another for each query, (B, Q, W²), as `Head.relate`."""
        return self.head.relate(support[-1], labels, query[0], way)

    def predict(self, logits: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of logits by part, (B, Q, W)."""
        seen = self.head.predict(logits)
        return seen if self.names is None else seen + self.names.weight * logits[NAMES]

    @property
    def loss_parts(self) -> Mapping[str, float]:
        """Weight in the loss of each part of the logits."""
        heard = {} if self.names is None else {NAMES: self.names.weight}
        return {**self.head.loss_parts, **heard}

    def forward(
        self,
        fused: Tensor,
        support: Tensor,
        labels: Tensor,
        query: Tensor,
        way: int,
        text: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits (B, Q, W) by part from fused features (V, T, D), text (V, D) where it hears names, and rows of
        V, as in `Student.forward`.
        """
        support, query = (
            whole_numbers(support, "support", ("B", "S")),
            whole_numbers(query, "query", ("B", "Q")),
        )
        code = self.encode(fused, text)
        rows = (tuple(x[at] for x in code) for at in (support, query))
        return self.match_parts(next(rows), labels, next(rows), way)
