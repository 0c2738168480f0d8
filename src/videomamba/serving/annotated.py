"""Answers drawn into their video: a copy of the file with label and score on every frame, without sound."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.windows import ROUNDED_TIMES, shown
from videomamba.evaluation.lettering import fitted, stamp
from videomamba.schema import Prediction, VideoError
from videomamba.serving.ahead import ahead
from videomamba.serving.clip_model import about
from videomamba.serving.timeline import Timeline
from videomamba.video.base import Video
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

_PIXEL_BYTES = 2**26  # most bytes of pictures in one piece; the next piece is decoded while one is encoded
_MOST_FRAMES = 16


class Caption(NamedTuple):
    """What is written on the frames from `start` seconds on, until the next caption."""

    start: float
    text: str


def captions_of(answer: Prediction | Timeline) -> list[Caption]:
    """The best class with its score, and below it the model: one for a prediction, one for each window of a timeline.

    Of a timeline with shots one for each motion of the camera, "unsure" included.
    """
    if isinstance(answer, Prediction):
        best = [(0.0, answer.top.label, answer.top.score)]
    elif answer.shots:
        best = [(span.start, span.label, span.score) for shot in answer.shots for span in shot.motions]
    else:
        places = answer.scores.argmax(axis=1)
        scores = answer.scores[np.arange(len(places)), places]
        named = (answer.labels[place] for place in places)
        best = list(zip(answer.edges[:-1].tolist(), named, scores.tolist(), strict=True))
    return [Caption(start, f"{label} {100 * score:.1f} %\n{answer.model}".rstrip()) for start, label, score in best]


def annotate(
    path: str | Path,
    out: str | Path,
    captions: Sequence[Caption],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the video at `path` with `captions` (in order of time) to `out` as H.264, in the container of its suffix.

    The pictures keep their size (an odd one is extended by a row or column) and their times, at a constant rate: that of
    the video, or of most of its frames where the rate varies. A single picture becomes a video of one frame. There is no
    sound. `progress(done, total)` counts frames. The file is written completely or not at all.

    Raises VideoError when the video cannot be read or `out` cannot be written.
    """
    if Path(out).exists() and Path(out).samefile(path):
        raise VideoError(out, "is the video itself, which would be replaced; give another name")
    try:
        with open_video(path) as video:
            rate = constant_rate(video)
            moments = np.arange(round(float(video.timestamps[-1] * rate)) + 1) / float(rate)
            with closing(_pieces(video, moments, captions, progress)) as pieces:
                write_video(out, pieces, fps=rate)
    except VideoError as error:
        raise error if error.path == str(out) else about(path, error) from None


def constant_rate(video: Video) -> Fraction:
    """Frames a second of a copy: the mean, or that of the usual distance of two frames where pauses make the mean useless."""
    if len(video.timestamps) < 2 or not video.info.fps:
        return Fraction(1)
    usual = 1 / max(float(np.median(np.diff(video.timestamps))), 1e-3)
    rate = video.info.fps if abs(usual / video.info.fps - 1) < 0.1 else usual
    return max(Fraction(rate).limit_denominator(1001), Fraction(1, 1001))


def _pieces(
    video: Video,
    moments: NDArray[np.float64],
    captions: Sequence[Caption],
    progress: Callable[[int, int], None] | None,
) -> Generator[NDArray[np.uint8], None, None]:
    """The frames on screen at `moments`, with their captions, (t, h, w, 3) at a time; h and w are even."""
    height, width = video.info.height, video.info.width
    frames = np.maximum(shown(video.timestamps, moments, ROUNDED_TIMES), 0)
    numbers = np.searchsorted([caption.start for caption in captions], moments + ROUNDED_TIMES, side="right") - 1
    numbers = np.maximum(numbers, 0)
    size = min(max(_PIXEL_BYTES // (3 * height * width), 1), _MOST_FRAMES)
    firsts = range(0, len(frames), size)
    number, letters = -1, np.zeros((0, 0), np.uint8)
    with closing(ahead(lambda first: video.frames(frames[first : first + size].tolist()), firsts)) as pieces:
        for first, piece in zip(firsts, pieces, strict=True):
            pictures = np.pad(piece.data.numpy(), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            for place, picture in enumerate(pictures, first):
                if numbers[place] != number:
                    number = int(numbers[place])
                    letters = fitted(captions[number].text, height=height, width=width)
                stamp(picture, letters)
            yield pictures
            if progress is not None:
                progress(first + len(pictures), len(frames))
