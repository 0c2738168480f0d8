"""The bricks of BERT (arXiv 1810.04805), with cross-attention as in ALBEF (arXiv 2107.07651).

Names in state dicts are those of transformers' `BertModel`. Norms and the residual stream are fp32 whatever dtype the products
have, under autocast too.

Shapes: b texts, l tokens, d width, m tokens of the memory that cross-attention reads, c their width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class TextEmbeddings(nn.Module):
    """Token numbers (b, l) int64 -> (b, l, d) fp32: word, position and type 0, normalised."""

    def __init__(self, *, vocab_size: int, dim: int, max_positions: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, dim)
        self.position_embeddings = nn.Embedding(max_positions, dim)
        self.token_type_embeddings = nn.Embedding(2, dim)  # the second type, of sentence pairs, is not used
        self.LayerNorm = LayerNorm(dim, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        embedded: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(ids) + places))
        return embedded


class TextLayer(nn.Module):
    """Self-attention, with `memory_dim` cross-attention, and an MLP; after each comes a residual sum, then a norm."""

    def __init__(
        self, *, dim: int, heads: int, hidden_dim: int, memory_dim: int | None, norm_eps: float, dropout: float
    ) -> None:
        super().__init__()
        self.attention = Attention(dim=dim, heads=heads, memory_dim=dim, norm_eps=norm_eps, dropout=dropout)
        if memory_dim is not None:
            self.crossattention = Attention(
                dim=dim, heads=heads, memory_dim=memory_dim, norm_eps=norm_eps, dropout=dropout
            )
        self.reads_memory = memory_dim is not None
        self.intermediate = Intermediate(dim, hidden_dim)
        self.output = AddNorm(hidden_dim, dim, norm_eps=norm_eps, dropout=dropout)

    def forward(
        self, states: Tensor, allowed: Tensor, memory: Tensor | None = None, memory_allowed: Tensor | None = None
    ) -> Tensor:
        """states (b, l, d) -> (b, l, d).

        `allowed` (b, 1, l or 1, l) bool: the tokens (last) that a token may read. `memory` (b or 1, m, c), one for all texts
        where it has one row, and `memory_allowed` (b or 1, 1, 1, m), None: all, only where there is cross-attention.
        """
        states = self.attention(states, states, allowed)
        if self.reads_memory:
            assert memory is not None
            states = self.crossattention(states, memory, memory_allowed)
        result: Tensor = self.output(F.gelu(self.intermediate(states)), states)
        return result


class Attention(nn.Module):
    """Attention of states (b, l, d) to memory (b or 1, m, c), then `AddNorm`."""

    def __init__(self, *, dim: int, heads: int, memory_dim: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.self = Projections(dim=dim, memory_dim=memory_dim, heads=heads, dropout=dropout)
        self.output = AddNorm(dim, dim, norm_eps=norm_eps, dropout=dropout)

    def forward(self, states: Tensor, memory: Tensor, allowed: Tensor | None) -> Tensor:
        result: Tensor = self.output(self.self(states, memory, allowed), states)
        return result


class Projections(nn.Module):
    """softmax(q k / sqrt(d / heads)) v of several heads: states (b, l, d), memory (b or 1, m, c) -> (b, l, d)."""

    def __init__(self, *, dim: int, memory_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(memory_dim, dim)
        self.value = nn.Linear(memory_dim, dim)

    def forward(self, states: Tensor, memory: Tensor, allowed: Tensor | None) -> Tensor:
        """Every token must be allowed to read one token at least."""
        query, key, value = (
            rearrange(product(layer, x), "b l (h d) -> b h l d", h=self.heads)
            for layer, x in ((self.query, states), (self.key, memory), (self.value, memory))
        )
        # One memory for all texts is projected once.
        key, value = (x.expand(query.shape[0], -1, -1, -1) for x in (key, value))
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
        return rearrange(read, "b h l d -> b l (h d)")


class Intermediate(nn.Module):
    """(..., d) -> (..., hidden), before the GELU."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, hidden_dim)

    def forward(self, states: Tensor) -> Tensor:
        return product(self.dense, states)


class AddNorm(nn.Module):
    """norm(residual + dropout(dense(hidden))): (..., c) and (..., d) -> (..., d) fp32."""

    def __init__(self, hidden_dim: int, dim: int, *, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_dim, dim)
        self.LayerNorm = LayerNorm(dim, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        added: Tensor = self.LayerNorm(residual + self.dropout(product(self.dense, hidden)))
        return added


class WordHead(nn.Module):
    """States (..., d) -> scores of words (..., vocabulary) fp32; their last product is with the word embeddings.

    Its parameters are those under `cls.predictions` in transformers, without `decoder`, which repeats the word embeddings and
    the bias.
    """

    def __init__(self, *, vocab_size: int, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.transform = WordTransform(dim, norm_eps=norm_eps)

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        hidden = self.transform(states)
        return F.linear(hidden.to(word_embeddings.dtype), word_embeddings).float() + self.bias.float()


class WordTransform(nn.Module):
    """(..., d) -> (..., d) fp32: linear, GELU, norm."""

    def __init__(self, dim: int, *, norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.LayerNorm = LayerNorm(dim, eps=norm_eps)

    def forward(self, states: Tensor) -> Tensor:
        transformed: Tensor = self.LayerNorm(F.gelu(product(self.dense, states)))
        return transformed


class LayerNorm(nn.LayerNorm):
    """Statistics and result in fp32 for inputs of any dtype below."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def product(layer: nn.Linear, x: Tensor) -> Tensor:
    """layer(x) in the dtype of its weight, or that of autocast."""
    result: Tensor = layer(x.to(layer.weight.dtype))
    return result
