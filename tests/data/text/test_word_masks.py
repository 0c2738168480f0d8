"""Which words are hidden."""

import numpy as np
import pytest
import torch

from videomamba.data.text.tokenizer import SPECIAL, Tokenizer, Tokens
from videomamba.data.text.word_masks import IGNORED, mask_words

WORDS = (*SPECIAL, *(f"w{number}" for number in range(995)))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(WORDS)


def _tokens(rows: int, length: int, tokenizer: Tokenizer) -> Tokens:
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 1000, (rows, length)))
    ids[:, 0], ids[:, -2], ids[:, -1] = tokenizer.cls, tokenizer.sep, tokenizer.pad
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[:, -1] = False
    return Tokens(ids, mask)


def test_shares_are_those_of_the_paper(tokenizer: Tokenizer) -> None:
    tokens = _tokens(500, 34, tokenizer)
    ids, targets = mask_words(tokens, tokenizer, 0.5, np.random.default_rng(1))
    chosen = targets != IGNORED
    assert torch.equal(targets[chosen], tokens.ids[chosen])
    assert torch.equal(ids[~chosen], tokens.ids[~chosen])
    assert not chosen[:, 0].any() and not chosen[:, -1].any()
    assert chosen[:, -2].any()  # [SEP] may be hidden
    assert chosen[:, 1:-1].float().mean() == pytest.approx(0.5, abs=0.02)
    masked, same = ids[chosen] == tokenizer.mask, ids[chosen] == tokens.ids[chosen]
    assert masked.float().mean() == pytest.approx(0.8, abs=0.02)
    assert same.float().mean() == pytest.approx(0.1, abs=0.02)
    drawn = ids[chosen][~masked & ~same]
    assert drawn.min() < 50 and drawn.max() > 950


def test_filling_up_and_batching_change_nothing(tokenizer: Tokenizer) -> None:
    short, long = _tokens(2, 9, tokenizer), _tokens(3, 17, tokenizer)
    ids, targets = mask_words(Tokens.cat([short, long]), tokenizer, 0.5, np.random.default_rng(7))
    one = np.random.default_rng(7)
    for part, rows in ((short, slice(0, 2)), (long, slice(2, 5))):
        alone, wanted = mask_words(part, tokenizer, 0.5, one)
        length = alone.shape[1]
        assert torch.equal(ids[rows, :length], alone) and torch.equal(targets[rows, :length], wanted)


def test_drawn_words_are_pinned(tokenizer: Tokenizer) -> None:
    ids, targets = mask_words(_tokens(1, 10, tokenizer), tokenizer, 0.9, np.random.default_rng(3))
    again, _ = mask_words(_tokens(1, 10, tokenizer), tokenizer, 0.9, np.random.default_rng(3))
    assert torch.equal(ids, again)
    assert (targets[0] != IGNORED).sum() > 4
    with pytest.raises(ValueError, match="above 0"):
        mask_words(_tokens(1, 10, tokenizer), tokenizer, 0.0, np.random.default_rng(3))
