"""Which words masked language modelling hides.

Source: arXiv 1810.04805, with the probability and the candidates of the original's video-text pretraining.

Shape letters: n texts, l tokens.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from videomamba.data.text.tokenizer import Tokens

IGNORED = -100
"""The target of a token that is not to be predicted, as `cross_entropy` expects it."""


class Vocabulary(Protocol):
    """What masking needs to know of a `Tokenizer`: the numbers of its special tokens, and how many words it has."""

    @property
    def cls(self) -> int: ...
    @property
    def mask(self) -> int: ...
    def __len__(self) -> int: ...


def mask_words(
    tokens: Tokens, vocabulary: Vocabulary, probability: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """(ids, targets), both (n, l) int64 on the device of `tokens`; targets are `IGNORED` where nothing is predicted.

    Each real token except [CLS] is chosen with `probability`; [SEP] may be, as in the original. Of the chosen, 80 % become
    [MASK], 10 % a word drawn from the whole vocabulary, 10 % stay. A short text may have no chosen token at all.

    Draws are made for real tokens only, in the order of the rows: how far a batch is filled up changes nothing, and rows
    that are masked one after another with one generator equal a batch of them.

    Raises ValueError for a `probability` outside (0, 1].
    """
    if not 0 < probability <= 1:
        raise ValueError(f"the probability of masking is above 0 and at most 1, got {probability:g}")
    ids = tokens.ids.cpu().clone()
    candidates = tokens.mask.cpu() & (ids != vocabulary.cls)
    # Three numbers for each candidate, next to each other, so that a row never depends on the rows after it.
    draws = generator.random((int(candidates.sum()), 3))
    chosen, masked, other = draws[:, 0] < probability, draws[:, 1] < 0.8, draws[:, 1] >= 0.9
    words = ids[candidates].numpy()
    targets = torch.full_like(ids, IGNORED)
    targets[candidates] = torch.from_numpy(np.where(chosen, words, IGNORED))
    drawn = np.floor(draws[:, 2] * len(vocabulary)).astype(np.int64)
    words = np.where(chosen & masked, vocabulary.mask, np.where(chosen & other, drawn, words))
    ids[candidates] = torch.from_numpy(words)
    return ids.to(tokens.ids.device), targets.to(tokens.ids.device)
