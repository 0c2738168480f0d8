"""The pairs of a run: videos, and pictures beside them, with their captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from videomamba.data.loading.joint import JointLoader
from videomamba.data.sets.texts import media_ids, read_texts
from videomamba.recipes.text_config import VideoTextTrainConfig
from videomamba.recipes.videos import check_videos, train_loader
from videomamba.schema import VideoMambaError, VideoSet
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
    numbers: Mapping[str, tuple[int, ...]]


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
    joint = VideoSet(sets[VIDEOS].name, tuple(record for one in sets.values() for record in one.records))
    found, numbers = iter(media_ids(joint)), {}
    for name, one in sets.items():
        numbers[name] = tuple(next(found) for _ in one.records)
    return Media(sets, val, joint, numbers)


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
