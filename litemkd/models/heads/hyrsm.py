"""HyRSM: hybrid relation guided set matching (Wang et al., CVPR 2022).

Frames of a video look at one another, then the videos of an episode do, and Bi-MHM matches what comes out.
With x = frames + PE of a video:

    f = ReLU(x + Attention(LayerNorm(x)))                  within a video
    m = mean over the frames of f
    g = ReLU(LayerNorm(m + Attention(m)))                  among the videos of a task: supports and one query
    h_t = W [f_t; g] + b                                   for each frame t
    logit = -Bi-MHM(h of the query, h of the class), 1 - cosine between frames

So a support's features are other ones for each query. A query does not see the other queries.

As in the paper: both relations, their fusion, the matching. As in its code: norms and ReLU, and that several
supports of a class are averaged before they meet the query (`support: mean`; `each` lets every support take
part and averages its distances). Not as there: PE is that of TRX, where the code makes features √(D / 10)
times as long first; dropout is on what attention gives, not on its shares too; the loss has no term that
tells all training classes apart, since a head knows those of its episode only.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.heads.attention import Attention
from litemkd.models.heads.base import FRAME, Head, class_prototypes, cosines, mean_over_supports, table_there
from litemkd.models.heads.bimhm import hausdorff
from litemkd.models.layers import PositionEncoding

TASK_DROPOUT = 0.05  # of the attention among videos, as published


class HyRSM(Head):
    """Relations within and among videos, then the Hausdorff distance.

    W [f_t; g] + b = W_f f_t + b + W_g g: the first is made once a video, the second once a video and query.

    Args:
        dim: D.
        frames: T.
        support: what the query meets: the `mean` of a class's supports, or `each` of them.
        dropout: after the position encoding, in training.
        attention_heads: of both attentions.
    """

    name = "hyrsm"
    place = 5

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        support: Annotated[
            Literal["mean", "each"], About("`mean` sequence of a class's supports, or `each` of them")
        ] = "mean",
        dropout: Annotated[float, About("after the position encoding", least=0, below=1)] = 0.1,
        attention_heads: Annotated[int, About("of an attention, D shared out among them", above=0)] = 8,
    ) -> None:
        super().__init__()
        self.support, self.wants = support, (frames, dim)
        self.pe = PositionEncoding(dim, frames, dropout=dropout)
        self.norm = nn.LayerNorm(dim)
        self.within = Attention(dim, attention_heads)
        self.among = Attention(dim, attention_heads, TASK_DROPOUT)
        self.task_norm = nn.LayerNorm(dim)
        self.frame = nn.Linear(dim, dim)  # W_f and b
        self.task = nn.Linear(dim, dim, bias=False)  # W_g

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T + 1, D): W_f f + b of each frame, and the mean of f."""
        x = self.pe(features)
        f = (x + self.within(self.norm(x))).relu()
        return torch.cat([self.frame(f), f.mean(-2, keepdim=True)], dim=-2)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        held, own = (x.flatten(0, 1) for x in self._related(support, labels, query, way))  # of B Q tasks
        far = hausdorff(own[:, None], held, eps=0).view(*query.shape[:2], -1)  # (B, Q, N)
        return {FRAME: -far if self.support == "mean" else -mean_over_supports(far, labels, way)}

    def _relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Cosines of the classes' mean sequences as each query makes them, (B, Q, W²); see `Head.relate`."""
        held = self._related(support, labels, query, way)[0].flatten(0, 1)
        if self.support == "each":
            held = class_prototypes(held, labels.repeat_interleave(query.shape[1], dim=0), way)
        return cosines(held.flatten(2)).flatten(1).unflatten(0, query.shape[:2])

    def _related(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> tuple[Tensor, Tensor]:
        """The h of N classes or supports for each query, (B, Q, N, T, D), and of the queries, (B, Q, T, D)."""
        held = class_prototypes(support, labels, way) if self.support == "mean" else support
        held = held[:, None].expand(-1, query.shape[1], -1, -1, -1)  # (B, Q, N, T + 1, D)
        videos = torch.cat([held, query[:, :, None]], dim=2)
        frames, mean = videos[..., :-1, :], videos[..., -1, :]
        there = None  # of a table of supports, those that are: with them the query looks around
        if self.support == "each" and (table := table_there()) is not None:
            there = torch.nn.functional.pad(table.flatten(1), (0, 1), value=True)[:, None]
        g = self.task_norm(mean + self.among(mean, there)).relu()  # (B, Q, N + 1, D)
        h = frames + self.task(g)[..., None, :]
        return h[:, :, :-1], h[:, :, -1]
