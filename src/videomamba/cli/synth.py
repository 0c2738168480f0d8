"""`videomamba synth`: a data set whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from videomamba.cli.output import counter


def synth(
    out: Annotated[Positional[str], arg(metavar="FOLDER", help="the new data set")],
    /,
    *,
    clips_per_class: Annotated[int, arg(help="videos of each of the 16 classes")] = 10,
    seed: Annotated[int, arg(help="different seeds never share a scene")] = 0,
    num_frames: Annotated[int, arg(help="frames in a video")] = 32,
    fps: Annotated[int, arg(help="frames per second")] = 16,
    height: Annotated[int, arg(help="of the picture in pixels, an even number")] = 128,
    width: Annotated[int, arg(help="of the picture in pixels, an even number")] = 160,
    crf: Annotated[int, arg(help="H.264 quality: 0 is lossless, 23 usual, 51 worst")] = 23,
    style: Annotated[str, arg(help="look of shapes, colours and backgrounds: default or line")] = "default",
    paired: Annotated[bool, arg(help="show the same scene in clip i of both classes of a pair, one backwards")] = False,
    workers: Annotated[int, arg(help="processes that render")] = 1,
) -> int:
    """Write a labelled data set of synthetic actions as real H.264 files: 16 motions in 8 time-reversed pairs.

    The same options give the same files and resume a run. Writes a folder for each class, annotations.csv and labels.txt,
    captions.json, captions_held_out.json (in sentences that the former does not have), questions.json and choices.json.
    """
    from videomamba.schema import VideoMambaError
    from videomamba.synthetic.dataset import write_dataset

    if not out:
        raise VideoMambaError('synth: "" names no folder; is a variable in the command line empty?')
    with counter("rendering") as tick:
        clips = write_dataset(
            Path(out),
            clips_per_class=clips_per_class,
            seed=seed,
            num_frames=num_frames,
            fps=fps,
            height=height,
            width=width,
            crf=crf,
            style=style,
            paired=paired,
            workers=workers,
            progress=tick,
        )
    print(f"{len(clips)} videos of {len({clip.name for clip in clips})} classes in {out}")
    return 0
