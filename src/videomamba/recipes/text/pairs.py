"""From batches of clips to batches of pairs: a caption for each clip, as tokens, with masked words and random numbers.

Nothing of it depends on how a step is divided over micro-batches and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from videomamba.data.loading.joint import MediaBatch
from videomamba.data.text.tokenizer import Tokenizer, Tokens
from videomamba.data.text.word_masks import IGNORED, mask_words
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.text.media import Media
from videomamba.schema import Captions
from videomamba.training.contrastive import sample_ids
from videomamba.training.distributed import Processes
from videomamba.training.draws import Draws

LOTS = 2**53
"""Random numbers are whole and below this: a process group may round floats on their way to the network."""


@dataclass(frozen=True, repr=False)
class PairBatch:
    """The pairs of one micro-batch, as `objectives.PairLosses` takes them, and `names`, the paths of their media.

    A batch whose media failed has a substitute of one pair and no names.
    """

    medium: str
    names: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]
    planned: int
    video: Tensor
    visible: Tensor | None
    draws: Tensor | None
    ids: Tensor
    mask: Tensor
    masked_ids: Tensor | None
    word_targets: Tensor | None
    keys: Tensor
    groups: Tensor
    uniform: Tensor
    sizes: tuple[int, ...] = (0,)
    word_scale: float = 0.0

    def to(self, device: torch.device) -> PairBatch:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved = {name: value.to(device, non_blocking=True) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]  # tensors for tensors

    @property
    def texts(self) -> dict[str, object]:
        """What `PairLosses` needs besides the clips."""
        names = ("ids", "mask", "masked_ids", "word_targets", "keys", "groups", "uniform", "sizes", "word_scale")
        return {name: getattr(self, name) for name in names}


class Pairing:
    """Makes the pairs of each step from the clips of `media`. `draws` are the generators of each medium."""

    def __init__(
        self,
        media: Media,
        tokenizer: Tokenizer,
        config: VideoTextTrainConfig,
        *,
        draws: Mapping[str, Draws],
        processes: Processes,
    ) -> None:
        self._sets, self._numbers, self._tokenizer = media.sets, media.numbers, tokenizer
        self._max_length, self._objectives = config.text.max_length, config.objectives
        self._draws, self._processes = draws, processes

    def __call__(self, batches: Sequence[MediaBatch]) -> list[PairBatch]:
        """The pairs of one step. Every process must call."""
        pairs = [self._pairs(batch) for batch in batches]
        world, rank = self._processes.world, self._processes.rank
        counts = np.zeros((len(pairs), world + 1))
        for row, batch in zip(counts, pairs, strict=True):
            row[rank] = len(batch.names)
            if batch.word_targets is not None and batch.names:
                row[world] = int((batch.word_targets != IGNORED).sum())
        counts = np.array(self._processes.sum(counts.ravel().tolist())).reshape(counts.shape)
        found = []
        for row, batch in zip(counts, pairs, strict=True):
            sizes = tuple(int(size) for size in row[:world])
            found.append(replace(batch, sizes=sizes, word_scale=sum(sizes) / row[world] if row[world] else 0.0))
        return found

    def _pairs(self, batch: MediaBatch) -> PairBatch:
        clips, records = batch.clips, self._sets[batch.medium].records
        generators = [
            self._draws[batch.medium].pair(batch.epoch, position, clips.positions[:i].count(position))
            for i, position in enumerate(clips.positions)
        ]
        texts = []
        for record, generator in zip(clips.records, generators, strict=True):
            captions = records[record].annotation
            assert isinstance(captions, Captions)
            texts.append(captions.texts[int(generator.integers(len(captions.texts)))])
        uniform = [generator.integers(LOTS, size=2) for generator in generators]
        names = tuple(records[record].path for record in clips.records)
        video, visible, draws = clips.video, clips.visible, clips.draws
        if not names:  # every medium failed, but other processes wait in collective calls
            texts, uniform = [""], [np.zeros(2, dtype=np.int64)]
            video = video.new_zeros(1, *video.shape[1:])
            visible = None if visible is None else torch.arange(visible.shape[1])[None]
            draws = None if draws is None else draws.new_zeros(1, *draws.shape[1:])
        tokens = self._tokenizer(texts, max_length=self._max_length)
        masked_ids, word_targets = self._masked(tokens, generators)
        media = [int(self._numbers[batch.medium][record]) for record in clips.records] or [-1]
        of_group = self._objectives.negatives
        groups = [position // of_group if of_group else 0 for position in clips.positions] or [0]
        keys = sample_ids(media, texts)
        return PairBatch(
            medium=batch.medium,
            names=names,
            failures=clips.failures,
            planned=clips.planned,
            video=video,
            visible=visible,
            draws=draws,
            ids=tokens.ids,
            mask=tokens.mask,
            masked_ids=masked_ids,
            word_targets=word_targets,
            keys=keys if self._objectives.same_caption else keys[:, :1],
            groups=torch.tensor(groups),
            uniform=torch.from_numpy(np.stack(uniform)),
        )

    def _masked(self, tokens: Tokens, generators: Sequence[np.random.Generator]) -> tuple[Tensor | None, Tensor | None]:
        """Each text with the generator of its pair."""
        if not self._objectives.words:
            return None, None
        if not generators:
            return tokens.ids, torch.full_like(tokens.ids, IGNORED)
        masked = [
            mask_words(tokens.rows([i]), self._tokenizer, self._objectives.word_mask, generator)
            for i, generator in enumerate(generators)
        ]
        ids, targets = zip(*masked, strict=True)
        return torch.cat(ids), torch.cat(targets)
