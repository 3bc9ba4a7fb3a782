"""CLIP-FSAR's head: prototype modulation and alignment in time (Wang et al., IJCV 2023).

One layer of a Transformer, which knows no order, over the frames of a video; over those of a support together
with the feature of its class's name, where there is one. Then OTAM, whose distance is of both directions:

    s = the first T rows of Layer([support frames; text feature])
    q = Layer(query frames)
    logit = -OTAM(q, mean of a class's s)

`Layer` is that of `litemkd.models.heads.attention`. Without text features supports go the way of queries: the
visual half of the method. A teacher that hears names gives the features of the supports' names to
`encode_with_text`, and matches its codes like any other (`litemkd.models.names`).

As in the paper: the modulation, and the prototypes as means of modulated supports. (For five shots the
published code averages before the modulation, which is the same for one.) λ of OTAM is `smoothing`, 0.5 in the
published code.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from litemkd.errors import EpisodeError
from litemkd.extending.declared import About
from litemkd.models.heads.alignment import frame_distances
from litemkd.models.heads.attention import Layer
from litemkd.models.heads.base import FRAME, Head, class_prototypes
from litemkd.models.heads.checking import check_features
from litemkd.models.heads.otam import EPS, align


class ClipFSAR(Head):
    """A Transformer over each video's frames, and the soft alignment of a query to each class's mean.

    Args:
        dim: D.
        frames: T.
        smoothing: λ of the alignment's soft minimum.
        attention_heads: of the Transformer.
        feed_forward: width within it, 0 for D; the published code has 2048.
    """

    name = "clip_fsar"
    place = 6

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        smoothing: Annotated[float, About("of the soft minimum", above=0)] = 0.1,
        attention_heads: Annotated[int, About("of an attention, D shared out among them", above=0)] = 8,
        feed_forward: Annotated[int, About("width within a Transformer's layer; `0` for D", least=0)] = 0,
    ) -> None:
        super().__init__()
        self.smoothing, self.wants = smoothing, (frames, dim)
        self.layer = Layer(dim, attention_heads, feed_forward)

    def encode_with_text(self, features: Tensor, text: Tensor) -> Tensor:
        """`encode` of supports whose classes have names: codes (..., T, D), as `match` takes them.

        Args:
            features: (..., T, D) of the frames.
            text: (..., D), for each video the feature of its class's name.

        Raises:
            EpisodeError: features or text of another form.
        """
        check_features(features, self.places, self.wants)
        expected = (*features.shape[:-2], features.shape[-1])
        if tuple(text.shape) != expected or not text.is_floating_point():
            raise EpisodeError(
                f"text: {text.dtype} {tuple(text.shape)} given for features {tuple(features.shape)}; "
                f"floating-point numbers {expected}, one feature a video, would do"
            )
        together = torch.cat([features, text[..., None, :]], dim=-2)
        return self.layer(together)[..., :-1, :]

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T, D)."""
        return self.layer(features)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        table = frame_distances(query, class_prototypes(support, labels, way), EPS)  # (B, Q, W, T, T)
        both = torch.stack([table, table.transpose(-2, -1)])
        return {FRAME: -align(both, self.smoothing).sum(0)}
