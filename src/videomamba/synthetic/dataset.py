"""Synthetic actions: sixteen motions in eight pairs, each the reversal of the other, as real H.264 files.

A model that ignores the order of frames cannot distinguish the two members of a pair: the second member is rendered as the
first one and reversed, so for one seed both hold exactly the same frames (before encoding), and over all seeds both have
the same distribution of frames. A bag of frames is thus right in at most half of the cases within a pair. But one frame at
a known time is informative: a square that starts at the right probably moves left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from videomamba.files import replace_text
from videomamba.schema import VideoMambaError
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.draw import draw_scene
from videomamba.synthetic.sample import describe, sample_scene
from videomamba.synthetic.texts import Clip, distinct_captions, text_files
from videomamba.synthetic.writing import begin, check_counts, write_missing, write_table
from videomamba.video.encode import write_video

_CLIPS_PER_SEED = 1_000_000  # room for the clip index inside a scene seed


@dataclass(frozen=True)
class SyntheticClip:
    """One written file: `path` starts with the root, `label` is the index in ACTIONS, `seed` the seed of its scene."""

    path: Path
    label: int
    name: str
    seed: int
    caption: str


def reversed_action(action: int) -> int:
    """The index of the action that is `action` played backwards. Raises ValueError for an index outside ACTIONS."""
    _check_action(action)
    return action ^ 1


def render_clip(
    action: int, seed: int, *, num_frames: int = 32, height: int = 128, width: int = 160, style: str = "default"
) -> NDArray[np.uint8]:
    """The clip (t, h, w, 3) uint8 RGB of the arguments.

    For every seed, `render_clip(2 * k + 1, seed)` is exactly `render_clip(2 * k, seed)[::-1]`. The scene depends
    neither on the frame size nor on the number of frames; the action is within the centre square of the frame.

    Raises ValueError for an unknown action or style, a negative seed, fewer than 8 frames or a side under 64 pixels.
    """
    _check_action(action)
    _check_size(num_frames, height, width)
    frames = draw_scene(sample_scene(action // 2, seed, style), num_frames=num_frames, height=height, width=width)
    return frames if action % 2 == 0 else np.ascontiguousarray(frames[::-1])


def caption(action: int, seed: int, style: str = "default") -> str:
    """A sentence that describes the clip of `render_clip` for the same arguments: colour, shape, action, background."""
    _check_action(action)
    return describe(sample_scene(action // 2, seed, style), backwards=action % 2 == 1)


def scene_seed(seed: int, action: int, index: int, *, paired: bool = False) -> int:
    """The seed of the scene of clip `index` of class `action` in the data set `seed`.

    It is 2 000 000 * seed + index, and 1 000 000 more for the second member of a pair unless `paired`. As index is
    under 1 000 000 and a scene is drawn from (style, pair, scene seed), no scene occurs twice: neither in two data sets
    of different seeds, nor, unless `paired`, as both members of a pair.

    Raises ValueError for a negative seed or an index outside 0..999999.
    """
    if seed < 0 or not 0 <= index < _CLIPS_PER_SEED:
        raise ValueError(f"seed {seed} must be at least 0 and index {index} in 0..{_CLIPS_PER_SEED - 1}")
    member = 0 if paired else action % 2
    return (2 * seed + member) * _CLIPS_PER_SEED + index


def write_dataset(
    root: Path,
    *,
    clips_per_class: int,
    seed: int,
    num_frames: int = 32,
    fps: Fraction | int = 16,
    height: int = 128,
    width: int = 160,
    crf: int = 23,
    codec: str = "libx264",
    style: str = "default",
    layout: Literal["folders", "flat"] = "folders",
    paired: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[SyntheticClip]:
    """Write `clips_per_class` videos of every action below `root`; returns them clip index first, then class.

    `layout="folders"` writes root/<action>/<action>_<scene seed>.mp4, "flat" has no folders. Also written:
    annotations.csv (header `path,label,name,caption`, paths relative to root), labels.txt (one name per line, in label
    order), synthetic.json (the settings), and the files of `texts.py`: captions.json, captions_held_out.json, questions.json
    and choices.json. With `paired`, clip i of both members of a pair are each other's reversal; without, no scene is used twice
    (see `scene_seed`). `progress(done, total)` is called after each file.

    After an interrupt the next call resumes: every file is written completely or not at all, and existing files are kept.
    A root with other settings is refused, except that `clips_per_class` may grow. Equal arguments give equal bytes.
    `workers` > 1 starts as many processes (the calling script needs `if __name__ == "__main__":`).

    Raises VideoMambaError for impossible settings or settings that differ from those of `root`, VideoError for a file
    that cannot be encoded.
    """
    check_counts(clips_per_class=clips_per_class, workers=workers)
    if layout not in ("folders", "flat"):
        raise VideoMambaError(f"layout: {layout!r} is unknown; choose folders or flat")
    if fps <= 0:
        raise VideoMambaError(f"fps: {fps} is not a rate; give a number above 0")
    if not 0 <= crf <= 51:
        raise VideoMambaError(f"crf: {crf} is not in 0..51")
    if height % 2 or width % 2:
        raise VideoMambaError(f"height, width: H.264 needs an even height and width, got {height}x{width}")
    settings: dict[str, object] = {
        "seed": seed,
        "num_frames": num_frames,
        "fps": str(fps),
        "height": height,
        "width": width,
        "crf": crf,
        "codec": codec,
        "style": style,
        "layout": layout,
        "paired": paired,
    }
    try:
        _check_size(num_frames, height, width)
        clips = [
            _plan(root, action, scene_seed(seed, action, index, paired=paired), style=style, layout=layout)
            for index in range(clips_per_class)
            for action in range(len(ACTIONS))
        ]
    except ValueError as error:
        raise VideoMambaError(str(error)) from error
    begin(root, settings, clips_per_class)
    look: dict[str, Any] = {"num_frames": num_frames, "height": height, "width": width, "style": style}
    write = partial(_write_clip, fps=fps, crf=crf, codec=codec, **look)
    write_missing(clips, write, workers=workers, progress=progress)
    replace_text(root / "labels.txt", "".join(f"{name}\n" for name in ACTIONS))
    rows = ((clip.path.relative_to(root).as_posix(), clip.label, clip.name, clip.caption) for clip in clips)
    write_table(root / "annotations.csv", ("path", "label", "name", "caption"), rows)
    for name, text in text_files(_listed(root, clips), style).items():
        replace_text(root / name, text)
    return clips


def write_distinct(root: Path, clips: Sequence[SyntheticClip], count: int, *, style: str = "default") -> Path:
    """Write root/captions_distinct_<count>.json: a test of retrieval whose every caption is true of one clip only.

    It has one held-out caption of each of `count` clips, of which no two have the same subject and action. `clips` are those
    that `write_dataset` returned for `root` and `style`. Raises VideoMambaError where they do not have so many.
    """
    file = root / f"captions_distinct_{count}.json"
    try:
        replace_text(file, distinct_captions(_listed(root, clips), count, style))
    except ValueError as error:
        raise VideoMambaError(f"{root}: {error}; write more clips per class") from error
    return file


def _listed(root: Path, clips: Sequence[SyntheticClip]) -> list[Clip]:
    return [(clip.path.relative_to(root).as_posix(), clip.label, clip.seed) for clip in clips]


def _plan(root: Path, action: int, seed: int, *, style: str, layout: str) -> SyntheticClip:
    name = ACTIONS[action]
    folder = root / name if layout == "folders" else root
    return SyntheticClip(folder / f"{name}_{seed}.mp4", action, name, seed, caption(action, seed, style))


def _write_clip(clip: SyntheticClip, *, fps: Fraction | int, crf: int, codec: str, **look: Any) -> None:
    write_video(clip.path, render_clip(clip.label, clip.seed, **look), fps=fps, codec=codec, crf=crf)


def _check_action(action: int) -> None:
    if not 0 <= action < len(ACTIONS):
        raise ValueError(f"action: {action} is not in 0..{len(ACTIONS) - 1}")


def _check_size(num_frames: int, height: int, width: int) -> None:
    if num_frames < 8:
        raise ValueError(f"num_frames: {num_frames} frames are too few for an action; give at least 8")
    if min(height, width) < 64:
        raise ValueError(f"height, width: {height}x{width} is too small for an action; give at least 64x64")
