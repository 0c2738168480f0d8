"""A labelled data set of camera motions and edits: a virtual camera over the user's photographs and footage, as H.264 files.

A file is one window of 1.2 to 1.5 seconds. Its size, rate and quality are drawn for each clip, or fixed for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from videomamba.files import replace_text
from videomamba.schema import VideoMambaError
from videomamba.synthetic.camera.clip import Shape, render_camera_clip
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.synthetic.camera.sources import Sources
from videomamba.synthetic.writing import SETTINGS_FILE, begin, check_counts, write_missing, write_table
from videomamba.video.encode import write_video

_MOST_SIDE, _MOST_FPS = 2160, 240  # a clip is in memory as a whole
_CLIPS_PER_SEED = 1_000_000  # room for the clip index inside a seed


@dataclass(frozen=True)
class CameraFile:
    """One written file: `path` starts with the root, `label` is the index in MOTIONS, `seed` that of `render_camera_clip`."""

    path: Path
    label: int
    name: str
    seed: int


def write_camera_dataset(
    root: Path,
    *,
    pictures: Sequence[Path],
    footage: Sequence[Path] = (),
    clips_per_class: int,
    seed: int,
    height: int | None = None,
    width: int | None = None,
    fps: int | None = None,
    crf: int | None = None,
    footage_share: float = 0.5,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[CameraFile]:
    """Write `clips_per_class` videos of each of MOTIONS below `root`; returns them clip index first, then class.

    `pictures` and `footage` are folders (or files) of photographs, and of videos of a camera that does not move; without
    footage all clips show photographs, otherwise the share `footage_share` shows footage. Use different folders and seeds for
    training and test. Written are root/<motion>/<motion>_<seed>.mp4, annotations.csv (header `path,label,name`), labels.txt and
    synthetic.json, the settings with the names of the source files. `progress(done, total)` is called after each file.

    The same call resumes; a root with other settings or sources is refused, except that `clips_per_class` may grow. Equal
    arguments give equal bytes. `workers` > 1 starts as many processes (see `write_dataset`).

    Raises VideoMambaError for impossible settings, folders without sources, or settings that differ from those of `root`;
    VideoError for a source that cannot be read.
    """
    check_counts(clips_per_class=clips_per_class, workers=workers)
    _check(seed=seed, clips_per_class=clips_per_class, footage_share=footage_share)
    shape = Shape(height, width, fps, crf)
    _check_shape(shape)
    sources = Sources.find(pictures, footage)
    settings: dict[str, object] = {
        "kind": "camera",
        "seed": seed,
        **asdict(shape),
        "footage_share": footage_share,
        "pictures": list(sources.picture_names),
        "footage": list(sources.footage_names),
    }
    if not (root / SETTINGS_FILE).exists():
        sources.check()  # a bad one that is found after some clips could not be removed: they were made with it
    begin(root, settings, clips_per_class)
    clips = [
        CameraFile(root / name / f"{name}_{number}.mp4", label, name, number)
        for number in range(seed * _CLIPS_PER_SEED, seed * _CLIPS_PER_SEED + clips_per_class)
        for label, name in enumerate(MOTIONS)
    ]
    write = partial(_write_clip, sources=sources, shape=shape, footage_share=footage_share)
    write_missing(clips, write, workers=workers, progress=progress)
    replace_text(root / "labels.txt", "".join(f"{name}\n" for name in MOTIONS))
    rows = ((clip.path.relative_to(root).as_posix(), clip.label, clip.name) for clip in clips)
    write_table(root / "annotations.csv", ("path", "label", "name"), rows)
    return clips


def _write_clip(clip: CameraFile, *, sources: Sources, shape: Shape, footage_share: float) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one process for each core is faster than threads, and the sums have one order
    try:
        made = render_camera_clip(clip.label, clip.seed, sources, shape=shape, footage_share=footage_share)
    finally:
        torch.set_num_threads(threads)
    write_video(clip.path, made.frames, fps=made.fps, crf=made.crf, gop=made.gop)


def _check(*, seed: int, clips_per_class: int, footage_share: float) -> None:
    if seed < 0:
        raise VideoMambaError(f"seed: {seed} is below 0; give 0 or more")
    if clips_per_class > _CLIPS_PER_SEED:
        raise VideoMambaError(f"clips_per_class: {clips_per_class} is too many; at most {_CLIPS_PER_SEED} have a seed")
    if not 0 <= footage_share <= 1:
        raise VideoMambaError(f"footage_share: {footage_share} is not in 0..1")


def _check_shape(shape: Shape) -> None:
    if (shape.height is None) != (shape.width is None):
        raise VideoMambaError("height, width: give both or neither")
    for name, side in (("height", shape.height), ("width", shape.width)):
        if side is not None and (not 64 <= side <= _MOST_SIDE or side % 2):
            raise VideoMambaError(f"{name}: {side} must be an even number from 64 to {_MOST_SIDE}")
    if shape.fps is not None and shape.fps < 8:
        raise VideoMambaError(f"fps: {shape.fps} is too slow to show a motion; give at least 8")
    if shape.fps is not None and shape.fps > _MOST_FPS:
        raise VideoMambaError(f"fps: {shape.fps} is too fast, a clip is rendered in memory; give at most {_MOST_FPS}")
    if shape.crf is not None and not 0 <= shape.crf <= 51:
        raise VideoMambaError(f"crf: {shape.crf} is not in 0..51")
