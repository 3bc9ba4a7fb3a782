"""What heads that are Transformers share: attention of several heads, and the layer that is made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DROPOUT, INNER_DROPOUT = 0.2, 0.05  # of attention and of a layer's perceptron, as published


class Attention(nn.Module):
    """Self-attention of several heads: W_o [softmax(q kᵀ / √d) v of each head, side by side] + b.

    Queries, keys and values are linear maps without a bias. A head has d = D / `heads` numbers, rounded down,
    and at least one: any D will do.

    Args:
        dim: D.
        heads: how many.
        dropout: of what comes out, in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * max(1, dim // heads)
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(..., N, D) -> (..., N, D): each of the N looks at all, or at those `there`, (..., N)."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(-4, -2)  # (..., 3, heads, N, d)
        query, key, value = parts.unbind(-4)
        mask = None
        if there is not None:
            mask = torch.zeros_like(there, dtype=x.dtype).masked_fill(~there, float("-inf"))[..., None, None, :]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).movedim(
            -3, -2
        )  # (..., N, heads, d)
        return self.dropout(self.out(seen.flatten(-2)))


class Layer(nn.Module):
    """y = x + Attention(LayerNorm(x)); y + W₂ GELU(W₁ y + b₁) + b₂.

    The norm stands before the attention alone, as in the published code of MoLo and CLIP-FSAR.

    Args:
        dim: D.
        heads: of the attention.
        feed_forward: width between W₁ and W₂, 2048 in that code; 0 for D.
    """

    def __init__(self, dim: int, heads: int, feed_forward: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        inner = feed_forward or dim
        self.mlp = nn.Sequential(
            nn.Linear(dim, inner),
            nn.GELU(),
            nn.Dropout(INNER_DROPOUT),
            nn.Linear(inner, dim),
            nn.Dropout(INNER_DROPOUT),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, D) -> (..., N, D)."""
        y = x + self.attention(self.norm(x))
        return y + self.mlp(y)
