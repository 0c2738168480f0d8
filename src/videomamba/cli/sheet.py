"""`videomamba data sheet`: what the network sees while training, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from videomamba.cli.model_options import Files, check_files, note_ignored
from videomamba.cli.output import progress
from videomamba.cli.sheet_masks import grid_of_clip, grid_of_run, masks_of
from videomamba.data.settings import Augmentation
from videomamba.schema import Preprocess

_NO_MASK, _RATIO, _PATCH, _TUBELET = "none", 0.8, 16, 1


def sheet(
    files: Files,
    /,
    *,
    out: Annotated[Path, arg(metavar="FILE.png", help="the picture to write")] = Path("sheet.png"),
    like: Annotated[
        str | None,
        arg(
            metavar="RUN",
            help="use the clip and augment settings of this preset or config.yaml, and its patches; not its mask",
        ),
    ] = None,
    clip: Annotated[Preprocess, arg(help="frames, size, normalisation")] = Preprocess(),
    augment: Annotated[Augmentation, arg(help="how clips are augmented")] = Augmentation(),
    mask: Annotated[
        str,
        arg(metavar="NAME", help="cover the patches masked by random, tube, clip-row, frame-row or attention; or none"),
    ] = _NO_MASK,
    ratio: Annotated[
        float | None,
        arg(
            help="share of the patches that --mask covers", help_behavior_hint=f"(default: {_RATIO}, also with --like)"
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        arg(metavar="NAME", help="whose attention --mask attention follows: zoo name, weights file, or a CLIP"),
    ] = None,
    patch: Annotated[
        int | None,
        arg(
            metavar="PIXELS",
            help="side of a patch of --mask, without --like",
            help_behavior_hint=f"(default: {_PATCH})",
        ),
    ] = None,
    tubelet: Annotated[
        int | None,
        arg(
            metavar="FRAMES",
            help="frames of a patch of --mask, without --like",
            help_behavior_hint=f"(default: {_TUBELET})",
        ),
    ] = None,
    samples: Annotated[int, arg(help="clips of each video, a row each, with random changes of their own")] = 4,
    videos: Annotated[int, arg(help="the first videos that are used")] = 4,
    seed: Annotated[int, arg(help="seed of all random changes")] = 0,
) -> int:
    """Write a contact sheet of training clips: a row for each augmented clip, its frames from left to right.

    The videos have no class here, so every symmetry can be shown; mixing needs a batch and is not shown.
    """
    from videomamba.data.augment.sheet import training_sheet
    from videomamba.schema import VideoMambaError
    from videomamba.training.draws import Draws
    from videomamba.video.find import search_videos
    from videomamba.video.picture import write_png

    check_files("data sheet", files)
    for option, value, least in (("--samples", samples, 1), ("--videos", videos, 1), ("--seed", seed, 0)):
        if value < least:
            raise VideoMambaError(f"{option} {value}: give at least {least}")
    if like is not None and (clip, augment, patch, tubelet) != (Preprocess(), Augmentation(), None, None):
        raise VideoMambaError(
            "--like: takes clip, augment, patch and tubelet from a run; remove --like or those options"
        )
    if mask == _NO_MASK:
        if teacher is not None:
            raise VideoMambaError("--teacher: is for --mask attention; give that too, or remove it")
        for option, given in (("--ratio", ratio), ("--patch", patch), ("--tubelet", tubelet)):
            if given is not None:
                raise VideoMambaError(f"{option}: is for --mask; give that too, or remove it")
    grid = None
    if like is not None:
        from videomamba.recipes.presets import preset_or_file

        config = preset_or_file(like)
        clip, augment = config.clip, config.augment
        if mask != _NO_MASK:
            grid = grid_of_run(like, config)
    elif mask != _NO_MASK:
        grid = grid_of_clip(clip, _PATCH if patch is None else patch, _TUBELET if tubelet is None else tubelet)
    masks = None if grid is None else masks_of(mask, _RATIO if ratio is None else ratio, grid, clip, teacher)
    found = [search_videos(given) for given in files]
    note_ignored([file for one in found for file in one.ignored])
    paths = [path for one in found for path in one.videos][:videos]
    reading = progress(paths, total=len(paths), what="reading")
    draws = Draws(seed).sheet
    write_png(out, training_sheet(reading, clip, augment, samples=samples, draws=draws, masks=masks, grid=grid))
    for i, path in enumerate(paths):
        print(f"rows {i * samples + 1} to {(i + 1) * samples}: {path}")
    print(out)
    return 0
