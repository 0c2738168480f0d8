"""The text tower: a BERT (arXiv 1810.04805) whose last layers also read the tokens of a video.

Layers below `fusion_from` see the text alone; those from there on have cross-attention to a memory, the tokens of a video.
So one stack has three uses: `encode`, `fuse`, and both in a row.

Shapes: b texts, l tokens, d width, m tokens of the memory, c their width.
"""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomamba.models.init import init_text, undrawn
from videomamba.modules.text import TextEmbeddings, TextLayer, WordHead


class TextConfig(BaseModel):
    """One text tower. Every default is that of BERT-base and of the released weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(default=30522, ge=1)
    dim: int = Field(default=768, ge=1)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    hidden_dim: int = Field(default=3072, ge=1, description="width inside the MLP of a layer")
    fusion_from: int = Field(default=9, ge=0, description="the first layer with cross-attention; depth: none has it")
    max_positions: int = Field(default=512, ge=1, description="the most tokens of a text")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    norm_eps: float = Field(default=1e-12, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if self.fusion_from > self.depth:
            raise ValueError(f"fusion_from {self.fusion_from} must be at most the depth {self.depth}")
        return self


class TextTower(nn.Module):
    """A BERT with cross-attention to a memory of width `memory_dim`; with `words` it also predicts masked words.

    The state dict has the names of transformers' `BertForMaskedLM` with `words` and of its `BertModel` without, as the
    original's. Left out are what repeats other tensors: `position_ids`, and `cls.predictions.decoder`, whose weight is that
    of the word embeddings and whose bias is `cls.predictions.bias`.
    """

    def __init__(self, config: TextConfig, *, memory_dim: int, words: bool = True) -> None:
        super().__init__()
        self.config = config
        vocab_size, dim, norm_eps, dropout = config.vocab_size, config.dim, config.norm_eps, config.dropout
        embeddings = TextEmbeddings(
            vocab_size=vocab_size, dim=dim, max_positions=config.max_positions, norm_eps=norm_eps, dropout=dropout
        )
        layers = nn.ModuleList(
            TextLayer(
                dim=dim,
                heads=config.heads,
                hidden_dim=config.hidden_dim,
                memory_dim=memory_dim if i >= config.fusion_from else None,
                norm_eps=norm_eps,
                dropout=dropout,
            )
            for i in range(config.depth)
        )
        encoder = nn.ModuleDict({"layer": layers})
        if words:
            self.bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder})
            self.cls = nn.ModuleDict({"predictions": WordHead(vocab_size=vocab_size, dim=dim, norm_eps=norm_eps)})
        else:
            self.embeddings, self.encoder = embeddings, encoder
        self.predicts_words = words
        self._recomputes = False
        init_text(self)

    @classmethod
    def without_weights(cls, config: TextConfig, *, memory_dim: int, words: bool = True) -> Self:
        """See `VideoMamba.without_weights`."""
        return undrawn(partial(cls, config, memory_dim=memory_dim, words=words))

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(b, l) int64 and bool, True for real tokens -> (b, l, d) fp32 after the layers below `fusion_from`.

        Padding changes no real token; its own states are finite, without meaning. Raises ValueError for other shapes.
        """
        if ids.ndim != 2 or ids.dtype != torch.int64:
            raise ValueError(f"ids must be (b, l) int64, got {tuple(ids.shape)} of {ids.dtype}")
        if not 1 <= ids.shape[1] <= self.config.max_positions:
            raise ValueError(f"a text has 1 to {self.config.max_positions} tokens, got {ids.shape[1]}")
        allowed = _readable(mask, ids.shape)
        embeddings, layers = self._stack()
        states: Tensor = embeddings(ids)
        for layer in layers[: self.config.fusion_from]:
            states = self._call(layer, states, allowed)
        return states

    def fuse(
        self,
        states: Tensor,
        mask: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """States (b, l, d) of `encode`, and memory (b, m, c) -> (b, l, d) fp32 after the layers from `fusion_from` on.

        A memory of one row (1, m, c) is that of all texts; its keys and values are computed once. `memory_mask` (b or 1, m)
        bool is True for what is not padding; None: all. With `causal` a token reads only itself and those before it.
        """
        allowed = _readable(mask, states.shape[:2])
        if causal:
            order = torch.arange(states.shape[1], device=states.device)
            allowed = allowed & (order <= order[:, None])
        rows = (states.shape[0], 1)
        if memory.ndim != 3 or memory.shape[0] not in rows or not memory.shape[1]:
            raise ValueError(f"memory must be (b, m, c) or (1, m, c) for {rows[0]} texts, got {tuple(memory.shape)}")
        memory_allowed = None if memory_mask is None else _readable(memory_mask, memory.shape[:2])
        for layer in self._stack()[1][self.config.fusion_from :]:
            states = self._call(layer, states, allowed, memory, memory_allowed)
        return states

    def words(self, states: Tensor) -> Tensor:
        """States (..., d) after the last layer -> scores of all words (..., vocabulary) fp32. Needs `words`."""
        if not self.predicts_words:
            raise ValueError("this text tower was made without words: it has no head that predicts them")
        scores: Tensor = self.cls["predictions"](states, self._stack()[0].word_embeddings.weight)
        return scores

    def recompute_activations(self, recompute: bool = True) -> None:
        """In training each layer keeps only its input and runs again in the backward pass, with the same draws of dropout."""
        self._recomputes = recompute

    def _stack(self) -> tuple[TextEmbeddings, list[nn.Module]]:
        embeddings, encoder = (
            (self.bert["embeddings"], self.bert["encoder"]) if self.predicts_words else (self.embeddings, self.encoder)
        )
        assert isinstance(embeddings, TextEmbeddings) and isinstance(encoder, nn.ModuleDict)
        layers = encoder["layer"]
        assert isinstance(layers, nn.ModuleList)
        return embeddings, list(layers)

    def _call(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self._recomputes and self.training and torch.is_grad_enabled():
            result: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
        else:
            result = layer(*inputs)
        return result


def _readable(mask: Tensor, shape: torch.Size) -> Tensor:
    """(b, l) bool, True for real tokens -> (b, 1, 1, l) bool: what others read. The first token is, so that none reads nothing.

    Raises ValueError unless the mask has `shape`.
    """
    if mask.shape != shape or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be {tuple(shape)} bool, True for real tokens; got {tuple(mask.shape)} of {mask.dtype}"
        )
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return (mask | first)[:, None, None]
