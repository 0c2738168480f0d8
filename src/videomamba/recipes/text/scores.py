"""Texts through a video-text model in parts of fixed content, and their match with one video.

The content of a part depends on the texts alone, never on the process or on what is kept in memory, so neither do its bits.

Shapes: n texts, l tokens, s width of a text state, e width of the common space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from videomamba.data.text.tokenizer import Tokens
from videomamba.models.precision import cast_products
from videomamba.models.video_text import VideoText

TEXTS_AT_ONCE = 256
"""Texts in one pass through the text tower alone."""

PAIRS_AT_ONCE = 32
"""Texts in one pass that also reads a video."""


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """`vectors` (n, e) fp32 of length 1, and the states (l, s) of each text without its padding; all on the CPU.

    Without `states`, only the vectors are known. States take 4 bytes x width x tokens: 1 GB for 350,000 tokens of BERT-base.
    """

    vectors: Tensor
    states: tuple[Tensor, ...] = ()


def in_precision(model: VideoText, precision: Literal["fp32", "bf16"], device: torch.device) -> VideoText:
    """`model` itself, ready to be tested on `device`."""
    model = model.eval().to(device)
    if precision == "bf16":
        cast_products(model, torch.bfloat16)
    return model


@torch.inference_mode()
def encode_texts(model: VideoText, tokens: Tokens, *, device: torch.device, states: bool) -> EncodedTexts:
    """The texts of `tokens`, in their order. `states` are kept for `match_texts`."""
    vectors, kept = [], []
    for start in range(0, len(tokens), TEXTS_AT_ONCE):
        part = tokens.rows(slice(start, start + TEXTS_AT_ONCE))
        lengths = part.mask.sum(dim=1).tolist()
        longest = max(lengths)
        found = model.encode_text(part.ids[:, :longest].to(device), part.mask[:, :longest].to(device))
        vectors.append(model.embed_texts(found).float().cpu())
        if states:
            rows = found.float().cpu()
            # A slice would keep the padding in memory.
            kept += [row[:length].clone() for row, length in zip(rows, lengths, strict=True)]
    return EncodedTexts(torch.cat(vectors), tuple(kept))


@torch.inference_mode()
def match_texts(
    model: VideoText, texts: EncodedTexts, chosen: Sequence[int], memory: Tensor, *, device: torch.device
) -> Tensor:
    """The logits (k, 2) fp32 on the CPU of the `chosen` texts with the video of `memory` (m, d); index 1: they match.

    Texts of like length share a pass, so that little is padding.
    """
    if not chosen:
        return torch.empty(0, 2)
    order = sorted(range(len(chosen)), key=lambda i: (len(texts.states[chosen[i]]), chosen[i]))
    of_all = memory[None].to(device)
    parts = []
    for start in range(0, len(order), PAIRS_AT_ONCE):
        rows = [texts.states[chosen[i]] for i in order[start : start + PAIRS_AT_ONCE]]
        lengths = torch.tensor([len(row) for row in rows])
        states = pad_sequence(rows, batch_first=True)
        mask = torch.arange(states.shape[1]) < lengths[:, None]
        parts.append(model.match(model.fuse(states.to(device), mask.to(device), of_all)).float().cpu())
    logits = torch.empty(len(chosen), 2)
    logits[order] = torch.cat(parts)
    return logits
