"""The pairs of a run: videos, and pictures beside them, with their captions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import overload

import numpy as np
from numpy.typing import NDArray

from videomamba.data.loading.joint import JointLoader
from videomamba.data.sets.texts import media_ids, read_texts
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.videos import check_videos, train_loader
from videomamba.schema import Captions, CompactRecords, VideoMambaError, VideoRecord, VideoSet
from videomamba.training.draws import Draws
from videomamba.training.run import TrainingRun
from videomamba.video.find import describe_ignored

VIDEOS, IMAGES = "videos", "images"


@dataclass(frozen=True, repr=False)
class Media:
    """`sets` to train on by medium, `val` to choose the best weights, and all training records as one set, `joint`.

    `numbers` has a number for each record of each set: records of one file, in whatever list, have the same.
    """

    sets: Mapping[str, VideoSet]
    val: VideoSet
    joint: VideoSet
    numbers: Mapping[str, NDArray[np.int64]]


def read_media(config: VideoTextTrainConfig, notify: Callable[[str], object]) -> Media:
    """Reads all lists. `notify` gets a line for each kind of ignored file.

    Raises VideoMambaError for lists that cannot be read, and settings that these media do not fit.
    """
    sets = {VIDEOS: read_texts(config.data, "train", task="captions")}
    val = read_texts(config.data, "val", task="captions")
    if config.with_images:
        sets[IMAGES] = read_texts(config.images, "train", task="captions")
    for line in describe_ignored([file for one in (*sets.values(), val) for file in one.ignored]):
        notify(f"ignored {line}")
    check_videos(config, sets[VIDEOS])
    if config.with_images:
        try:
            check_videos(config.of_images(), sets[IMAGES])
        except VideoMambaError as error:
            raise VideoMambaError(f"{error} (images)") from None
    joint = VideoSet(sets[VIDEOS].name, _Joined([one.records for one in sets.values()]))
    numbers = np.split(media_ids(joint), np.cumsum([len(one) for one in sets.values()])[:-1])
    return Media(sets, val, joint, dict(zip(sets, numbers, strict=True)))


class _Joined(CompactRecords):
    """The records of several sets with captions, without a copy."""

    kind = Captions

    def __init__(self, parts: Sequence[Sequence[VideoRecord]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[VideoRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> VideoRecord | tuple[VideoRecord, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        part = bisect_right(self._ends, index)
        return self._parts[part][index - self._ends[part] + len(self._parts[part])]


def pair_loader(config: VideoTextTrainConfig, media: Media, run: TrainingRun) -> JointLoader:
    """The batches of this process: in each step videos or pictures."""
    grid, draws = config.video().grid, draws_of(run)
    loaders = {}
    for name, one in media.sets.items():
        settings, of_medium = (config, grid) if name == VIDEOS else (config.of_images(), (1, *grid[1:]))
        masked = settings.mask if settings.mask.ratio else None
        loaders[name] = train_loader(
            settings, one, run, mask=masked, grid=of_medium if masked else None, draws=draws[name]
        )
    return JointLoader(loaders, run.draws)


def draws_of(run: TrainingRun) -> dict[str, Draws]:
    """The generators of each medium."""
    return {VIDEOS: run.draws, IMAGES: run.draws.of_pictures()}
