"""`videomamba synth` and `synth-camera`: data sets whose answers are known."""

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


def synth_camera(
    out: Annotated[Positional[str], arg(metavar="FOLDER", help="the new data set")],
    /,
    *,
    pictures: Annotated[tuple[str, ...], arg(metavar="FOLDER", help="folders of photographs, at any depth")],
    footage: Annotated[
        tuple[str, ...], arg(metavar="FOLDER", help="folders of videos whose camera does not move")
    ] = (),
    clips_per_class: Annotated[int, arg(help="videos of each of the 12 classes")] = 10,
    seed: Annotated[int, arg(help="different seeds never share a clip")] = 0,
    height: Annotated[int | None, arg(help="of all pictures, in pixels; default: drawn for each video")] = None,
    width: Annotated[int | None, arg(help="of all pictures, in pixels; default: drawn for each video")] = None,
    fps: Annotated[int | None, arg(help="frames per second; default: drawn for each video")] = None,
    crf: Annotated[int | None, arg(help="H.264 quality, 0 best to 51; default: drawn for each video, 18 to 40")] = None,
    footage_share: Annotated[float, arg(help="share of the videos that show footage, if there is any")] = 0.5,
    workers: Annotated[int, arg(help="processes that render")] = 1,
) -> int:
    """Write a labelled data set of camera motions, cuts and fades: a virtual camera over your photographs and footage.

    The classes are static, pan_left, pan_right, tilt_up, tilt_down, zoom_in, zoom_out, roll_clockwise, roll_counterclockwise,
    shake, cut and fade; a name says what the camera does. The same options give the same files and resume a run. Writes a
    folder for each class, annotations.csv, labels.txt and the settings. Use different photographs for training and test.
    """
    from videomamba.schema import VideoMambaError
    from videomamba.synthetic.camera.dataset import write_camera_dataset

    if "" in (out, *pictures, *footage):
        raise VideoMambaError('synth-camera: "" names no folder; is a variable in the command line empty?')
    with counter("rendering") as tick:
        clips = write_camera_dataset(
            Path(out),
            pictures=[Path(folder) for folder in pictures],
            footage=[Path(folder) for folder in footage],
            clips_per_class=clips_per_class,
            seed=seed,
            height=height,
            width=width,
            fps=fps,
            crf=crf,
            footage_share=footage_share,
            workers=workers,
            progress=tick,
        )
    print(f"{len(clips)} videos of {len({clip.name for clip in clips})} classes in {out}")
    return 0
