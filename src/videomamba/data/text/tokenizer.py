"""Words to numbers as BERT (uncased) does it: WordPiece. The one file that imports tokenizers.

Source: arXiv 1810.04805; the steps and special tokens are those of "bert-base-uncased".

Shape letters: n texts, l tokens of the longest text.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from videomamba.schema import VideoMambaError

try:
    from tokenizers import Tokenizer as WordPieceTokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers
except ModuleNotFoundError as error:
    raise VideoMambaError("captions and questions need tokenizers; pip install 'videomamba[text]'") from error

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens that every vocabulary has."""

_CONTINUES = "##"


@dataclass(frozen=True, eq=False, repr=False)
class Tokens:
    """Texts as numbers: `ids` (n, l) int64, and `mask` (n, l) bool, False where a row is filled up with `pad`."""

    ids: Tensor
    mask: Tensor
    pad: int = 0

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != torch.int64:
            raise ValueError(f"Tokens.ids must be (n, l) int64, got {tuple(self.ids.shape)} {self.ids.dtype}")
        if self.mask.shape != self.ids.shape or self.mask.dtype != torch.bool:
            raise ValueError(f"Tokens.mask must be {tuple(self.ids.shape)} bool, got {tuple(self.mask.shape)}")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Tokens:
        return Tokens(self.ids.to(device), self.mask.to(device), self.pad)

    def rows(self, index: slice | Sequence[int] | Tensor) -> Tokens:
        """The texts at `index`, in its order; as long as before."""
        where = index if isinstance(index, slice | Tensor) else torch.tensor(index, dtype=torch.int64)
        return Tokens(self.ids[where], self.mask[where], self.pad)

    @staticmethod
    def cat(parts: Sequence[Tokens]) -> Tokens:
        """All texts of `parts`, which are at least one, in their order, filled up to the longest."""
        longest = max(part.ids.shape[1] for part in parts)
        filled = [part._filled(longest) for part in parts]
        return Tokens(torch.cat([p.ids for p in filled]), torch.cat([p.mask for p in filled]), parts[0].pad)

    def _filled(self, length: int) -> Tokens:
        ids = self.ids.new_full((len(self), length), self.pad)
        mask = self.mask.new_zeros((len(self), length))
        ids[:, : self.ids.shape[1]], mask[:, : self.ids.shape[1]] = self.ids, self.mask
        return Tokens(ids, mask, self.pad)

    def __repr__(self) -> str:
        return f"Tokens({tuple(self.ids.shape)})"


class Tokenizer:
    """WordPiece with the words of `vocabulary` in the order of their numbers.

    `pad`, `unk`, `cls`, `sep` and `mask` are the numbers of the special tokens. In a text these tokens count only as they
    are written here, in upper case: a cleaned caption has none.

    Raises VideoMambaError for a vocabulary without one of the special tokens, and for a repeated word.
    """

    def __init__(self, vocabulary: Sequence[str], *, source: str = "vocabulary") -> None:
        self.vocabulary = tuple(vocabulary)
        numbers = {word: number for number, word in enumerate(self.vocabulary)}
        if len(numbers) != len(self.vocabulary):
            word, _ = Counter(self.vocabulary).most_common(1)[0]
            raise VideoMambaError(f"{source}: has {word!r} more than once; remove the others")
        absent = [token for token in SPECIAL if token not in numbers]
        if absent:
            raise VideoMambaError(f"{source}: has no {', '.join(absent)}; give the vocabulary of an uncased BERT")
        self.pad, self.unk, self.cls, self.sep, self.mask = (numbers[token] for token in SPECIAL)
        pieces = WordPieceTokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=100))
        pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
        pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pieces.decoder = decoders.WordPiece(prefix=_CONTINUES, cleanup=True)
        pieces.add_special_tokens(list(SPECIAL))
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __call__(self, texts: Sequence[str], *, max_length: int) -> Tokens:
        """The tokens of each text between [CLS] and [SEP], cut to `max_length`, filled up to the longest of `texts`.

        Raises VideoMambaError for a `max_length` below 3, which leaves no room for a word.
        """
        if max_length < 3:
            raise VideoMambaError(f"max_length {max_length}: leaves no room for a word; give at least 3")
        # One by one: a batch would start threads, which no later fork survives.
        words = [self._pieces.encode(text, add_special_tokens=False).ids[: max_length - 2] for text in texts]
        longest = 2 + max(map(len, words), default=0)
        ids = torch.full((len(words), longest), self.pad, dtype=torch.int64)
        mask = torch.zeros((len(words), longest), dtype=torch.bool)
        for row, numbers in enumerate(words):
            ids[row, : len(numbers) + 2] = torch.tensor([self.cls, *numbers, self.sep])
            mask[row, : len(numbers) + 2] = True
        return Tokens(ids, mask, self.pad)

    def count(self, text: str) -> int:
        """The number of tokens of `text` with [CLS] and [SEP], without a limit."""
        return len(self._pieces.encode(text, add_special_tokens=False).ids) + 2

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The text of one row of tokens, without special tokens."""
        return str(self._pieces.decode([int(number) for number in ids], skip_special_tokens=True))

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The vocabulary in `path`: vocab.txt (a word a line), tokenizer.json, or a folder with one of them.

        Raises VideoMambaError, one line that names the file, if it is missing, damaged or of a tokenizer of another kind.
        """
        file = Path(path)
        if file.is_dir():
            found = [file / name for name in ("vocab.txt", "tokenizer.json") if (file / name).is_file()]
            if not found:
                raise VideoMambaError(f"{file}: has neither vocab.txt nor tokenizer.json; give the folder of a BERT")
            file = found[0]
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise VideoMambaError(f"{file}: cannot be read ({error.strerror}); give vocab.txt of a BERT") from None
        except UnicodeDecodeError:
            raise VideoMambaError(f"{file}: is not text in UTF-8; give vocab.txt of a BERT") from None
        words = _of_json(file, text) if file.suffix.lower() == ".json" else _lines(text)
        if any("A" <= letter <= "Z" for word in words if not word.startswith("[") for letter in word):
            raise VideoMambaError(f"{file}: has words in upper case; give the vocabulary of an uncased BERT")
        return cls(words, source=str(file))

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Self:
        """A vocabulary of at most `size` words and pieces from `texts`, such as the cleaned captions of a data set.

        It has the special tokens, every character of the texts, then the pieces that result when the most frequent pair
        of neighbours is joined again and again, of equally frequent pairs the first in alphabetical order. It depends on
        nothing else: tokenizers' own trainer numbers its pieces by chance.

        Raises VideoMambaError if `size` has no room for the characters.
        """
        split = pre_tokenizers.BertPreTokenizer()
        plain = normalizers.BertNormalizer(lowercase=True)
        counts = Counter(word for text in texts for word, _ in split.pre_tokenize_str(plain.normalize_str(text)))
        words = sorted(counts)
        pieces = [[word[0], *(_CONTINUES + letter for letter in word[1:])] for word in words]
        known = dict.fromkeys([*SPECIAL, *sorted({piece for word in pieces for piece in word})])
        if len(known) > size:
            raise VideoMambaError(f"vocabulary of {size}: its texts need {len(known)} for their characters; give more")
        _join(pieces, [counts[word] for word in words], known, size)
        return cls(tuple(known))


def _join(words: list[list[str]], counts: Sequence[int], known: dict[str, None], size: int) -> None:
    """Joins the most frequent pairs of neighbours in `words` until `known` has `size` pieces. Changes both."""
    total: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    for place, word in enumerate(words):
        for pair in pairwise(word):
            total[pair] += counts[place]
            places[pair].add(place)
    queue = [(-count, pair) for pair, count in total.items()]
    heapify(queue)
    while len(known) < size and queue:
        count, pair = heappop(queue)
        if total[pair] != -count or not count:
            continue  # the pair was counted again, and is also in the queue with that count
        joined = pair[0] + pair[1].removeprefix(_CONTINUES)
        known[joined] = None
        changed = set()
        for place in places.pop(pair):
            before, words[place] = words[place], _joined(words[place], pair, joined)
            for old in pairwise(before):
                total[old] -= counts[place]
            for new in pairwise(words[place]):
                total[new] += counts[place]
                places[new].add(place)
            changed |= {*pairwise(before), *pairwise(words[place])}
        for other in changed:
            heappush(queue, (-total[other], other))


def _joined(word: Sequence[str], pair: tuple[str, str], joined: str) -> list[str]:
    result: list[str] = []
    for piece in word:
        if result and (result[-1], piece) == pair:
            result[-1] = joined
        else:
            result.append(piece)
    return result


def _lines(text: str) -> list[str]:
    lines = text.split("\n")  # not splitlines: some tokens are themselves unusual line ends
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _of_json(file: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
        model, added = content["model"], content.get("added_tokens") or []
        kind = model.get("type", "WordPiece" if "vocab" in model else None)
        lowercase = (content.get("normalizer") or {}).get("lowercase", True)
        words = {str(word): number for word, number in dict(model["vocab"]).items()}
        words |= {str(token["content"]): token["id"] for token in added}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise VideoMambaError(f"{file}: is no tokenizer.json of a WordPiece; give that of an uncased BERT") from None
    if kind != "WordPiece" or not lowercase:
        found = kind if kind != "WordPiece" else "one that keeps upper case"
        raise VideoMambaError(f"{file}: is a tokenizer of another kind ({found}); give that of an uncased BERT")
    if sorted(words.values(), key=str) != sorted(range(len(words)), key=str):
        raise VideoMambaError(f"{file}: numbers its {len(words)} words with gaps; download it again")
    return sorted(words, key=lambda word: words[word])
