"""`videomamba data sheet`: what the network sees while training, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from videomamba.data.settings import Augmentation
from videomamba.schema import Preprocess


def sheet(
    files: Annotated[
        Positional[tuple[str, ...]], arg(metavar="FILES_OR_FOLDERS", help="videos, images, or folders of them")
    ],
    /,
    *,
    out: Annotated[Path, arg(metavar="FILE.png", help="the picture to write")] = Path("sheet.png"),
    like: Annotated[
        str | None, arg(metavar="RUN", help="a preset or the config.yaml of a run, whose clip and augment are shown")
    ] = None,
    clip: Annotated[Preprocess, arg(help="frames, size, normalisation")] = Preprocess(),
    augment: Annotated[Augmentation, arg(help="how clips are changed")] = Augmentation(),
    samples: Annotated[int, arg(help="clips of each video, each changed on its own: one row each")] = 4,
    videos: Annotated[int, arg(help="at most so many, the first ones of what is given")] = 4,
    seed: Annotated[int, arg(help="of all that is drawn")] = 0,
) -> int:
    """Write a contact sheet of training clips: a row for each changed clip, its frames from left to right.

    The videos have no class here, so every symmetry that is asked for is shown; mixing needs a batch and is not.
    """
    import numpy as np
    import torch

    from videomamba.cli.output import progress
    from videomamba.data.augment.pipeline import augment_clip, check_augmentation
    from videomamba.data.clips.sampling import train_clip
    from videomamba.schema import Clip, Symmetries, VideoMambaError, VideoSet
    from videomamba.video.open import find_videos, open_video
    from videomamba.video.picture import contact_sheet, write_png

    if not files:
        raise VideoMambaError("data sheet: no file given; try `videomamba data sheet clip.mp4`")
    for option, value in (("--samples", samples), ("--videos", videos)):
        if value < 1:
            raise VideoMambaError(f"{option} {value}: give at least 1")
    if like is not None:
        if (clip, augment) != (Preprocess(), Augmentation()):
            raise VideoMambaError("--like: takes clip and augment from a run; leave out their options, or --like")
        from videomamba.recipes.load import load_config

        config = load_config(["--config" if like.endswith((".yaml", ".yml")) else "--preset", like])
        clip, augment = config.clip, config.augment
    if seed < 0:
        raise VideoMambaError(f"--seed {seed}: give 0 or more")
    anything = VideoSet("sheet", (), ("any",), Symmetries(mirror=(0,), upside_down=(0,), backwards=(0,)))
    check_augmentation(augment, anything)
    paths = [path for given in files for path in find_videos(given)][:videos]
    rows = []
    for i, path in enumerate(progress(paths, total=len(paths), what="reading")):
        with open_video(path) as video:
            for sample in range(samples):
                generator = np.random.default_rng((seed, i, sample))
                frames = video.frames(train_clip(clip, video.info.num_frames, generator))
                rows.append(augment_clip(frames, None, clip, augment, anything.symmetries, generator)[0].data)
        print(f"rows {i * samples + 1} to {(i + 1) * samples}: {path}")
    write_png(out, contact_sheet(Clip(torch.cat(rows, 1)), columns=clip.num_frames, preprocess=clip))
    print(out)
    return 0
