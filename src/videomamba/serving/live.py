"""Answers about a stream while it runs: every `stride` seconds one about its last `window` seconds.

Pictures are decoded, scaled and kept by a thread (`data.live`), at most as many as one window and one stride need. Whoever
iterates over the answers runs the network. Where that takes longer than a stride, "latest" skips windows: the next answer
is about the newest window that is over, which ended less than a stride ago. So an answer comes at most one stride and one
run of the network after its window, and one picture, which tells that the window is over. "all" answers every window.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self

import torch
from torch import Tensor

from videomamba.data.clips.transforms import covering, to_clip
from videomamba.evaluation.scoring import merge_views
from videomamba.schema import Clip, Frames, Preprocess, ScoredLabel, VideoMambaError
from videomamba.serving.predictor import best_labels
from videomamba.video.live.source import Drop, LivePicture, LiveSource

# Matroska rounds times to milliseconds: a picture that begins so little after its moment is the one that is meant.
_TOLERANCE = 1e-3

_MOST_PICTURES = 4096


class Classifier(Protocol):
    """What of a Predictor is used."""

    preprocess: Preprocess
    labels: tuple[str, ...]

    def logits(self, clips: Sequence[Clip]) -> Tensor: ...


class Pictures(Protocol):
    """What of a LiveSource is used while it runs."""

    @property
    def name(self) -> str: ...

    @property
    def dropped(self) -> int: ...

    def take(self) -> list[LivePicture]: ...

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: object) -> None: ...


@dataclass(frozen=True)
class LiveAnswer:
    """The classes of one window, best first, those below the threshold left out.

    `start` and `end` are seconds of the stream. `delay` is the time in seconds from the moment when the window's last
    picture had been decoded to the answer. `dropped` pictures and `skipped` windows are counted from the beginning.
    """

    start: float
    end: float
    predictions: tuple[ScoredLabel, ...]
    delay: float
    dropped: int
    skipped: int

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "start": self.start,
            "end": self.end,
            "predictions": [{"label": p.label, "score": p.score} for p in self.predictions],
            "delay": self.delay,
            "dropped": self.dropped,
            "skipped": self.skipped,
        }


@dataclass(frozen=True)
class Windows:
    """Window k is the stream from k stride to k stride + window seconds; it is seen through `num_frames` pictures, those
    on show in the middles of that many equal parts.

    Raises VideoMambaError for lengths that are not positive, or that need more than 4096 pictures at once.
    """

    window: float
    stride: float
    num_frames: int

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 2 * _TOLERANCE):
                raise VideoMambaError(f"{name} {seconds:g}: give a length in seconds, such as 2")
        if self.capacity > _MOST_PICTURES:
            raise VideoMambaError(
                f"stride {self.stride:g}: windows of {self.window:g} s so close together need {self.capacity} pictures at "
                f"once, more than {_MOST_PICTURES}; choose a longer stride"
            )

    @property
    def capacity(self) -> int:
        """The most pictures wanted in the time of one window and one stride, so that the newest window is always whole."""
        return (self.num_frames + 1) * (math.ceil(self.window / self.stride) + 2)

    def span(self, k: int) -> tuple[float, float]:
        return k * self.stride, k * self.stride + self.window

    def wants(self, start: float, stop: float) -> bool:
        """Whether a window is seen through, or ends with, the picture on show from `start` to `stop`."""
        for offset in self._offsets():
            k = max(0, math.ceil((start - _TOLERANCE - offset) / self.stride))
            if k * self.stride + offset < stop - _TOLERANCE:
                return True
        return False

    def over(self, stop: float) -> int:
        """The last window that is over when the stream has reached `stop`; negative where none is."""
        return math.ceil((stop + _TOLERANCE - self.window) / self.stride) - 1

    def pick(self, k: int, pictures: Sequence[LivePicture]) -> list[LivePicture] | None:
        """The pictures that window k is seen through and the one that ends it; None where one of them is missing.

        `pictures` are in order of time.
        """
        starts = [picture.start for picture in pictures]
        picked = []
        for offset in self._offsets():
            moment = k * self.stride + offset + _TOLERANCE
            place = bisect_right(starts, moment) - 1
            if place < 0 or moment >= pictures[place].stop:
                return None
            picked.append(pictures[place])
        return picked

    def _offsets(self) -> list[float]:
        part = self.window / self.num_frames
        # The last picture of a window is known to be the last only when the next one has come.
        return [(i + 0.5) * part for i in range(self.num_frames)] + [self.window - 2 * _TOLERANCE]


def watch(
    predictor: Classifier,
    source: str,
    *,
    window: float,
    stride: float,
    drop: Drop = "latest",
    top: int = 5,
    threshold: float = 0.0,
    follow: bool = False,
    timeout: float = 10.0,
    reconnect: int = 3,
    notify: Callable[[str], object] = lambda message: None,
) -> LiveWatch:
    """Watches `source` (see `data.live.LiveSource`, also for the options not named here); iterate over its answers.

    Every `stride` seconds of the stream an answer about the last `window` seconds: `predictor.preprocess.num_frames`
    pictures spread evenly over it, whatever the sampling of the model's training. The `top` classes are kept, those below
    `threshold` not. A window with a break in it is skipped.

    The answers end with the stream. Iterating raises VideoError where the source cannot be watched or broke off for good.
    Close what is returned, or use it as a context manager.
    """
    windows = Windows(window, stride, predictor.preprocess.num_frames)

    def scaled(picture: Tensor) -> Tensor:
        return covering(Frames(picture[None], (0,), (0.0,), source), predictor.preprocess).data[0]

    live = LiveSource(
        source,
        drop=drop,
        buffer=windows.capacity,
        wants=windows.wants,
        prepare=scaled,
        follow=follow,
        timeout=timeout,
        reconnect=reconnect,
        notify=notify,
    )
    # The first run loads kernels and takes seconds, which the first windows would be late by.
    shape = (3, windows.num_frames, *predictor.preprocess.image_size)
    predictor.logits([Clip(torch.zeros(shape), path=live.name)])
    return LiveWatch(predictor, live, windows, drop=drop, top=top, threshold=threshold)


class LiveWatch(Iterator[LiveAnswer]):
    """The answers about one stream. `skipped` counts the windows that were over and got none, `answered` the others.

    `pictures` is a LiveSource, or anything like one, whose pictures are scaled to cover what the predictor sees. It starts
    and ends with this context.
    """

    def __init__(
        self,
        predictor: Classifier,
        pictures: Pictures,
        windows: Windows,
        *,
        drop: Drop = "latest",
        top: int = 5,
        threshold: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if top < 1 or not 0 <= threshold <= 1:
            raise ValueError(f"need top >= 1 and a threshold in 0..1, got {top} and {threshold}")
        self.pictures = pictures
        self.windows = windows
        self.answered = 0
        self.skipped = 0
        self._predictor, self._drop, self._clock = predictor, drop, clock
        self._top, self._threshold = top, threshold
        self._ring: deque[LivePicture] = deque(maxlen=windows.capacity)
        self._answers = self._watch()

    def __next__(self) -> LiveAnswer:
        return next(self._answers)

    def __enter__(self) -> Self:
        self.pictures.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._answers.close()
        self.pictures.__exit__(*exception)

    def _watch(self) -> Generator[LiveAnswer]:
        following = 0
        while taken := self.pictures.take():
            # "all" looks after every picture: a batch may be longer than what the ring holds for a window.
            for batch in [taken] if self._drop == "latest" else [[picture] for picture in taken]:
                for picture in batch:
                    self._keep(picture)
                over = range(following, self.windows.over(batch[-1].stop) + 1)
                if over:
                    following = over.stop
                    due = self._due(over)
                    self.skipped += len(over) - len(due)
                    for k, picked in due:
                        yield self._answer(k, picked)

    def _keep(self, picture: LivePicture) -> None:
        if self._ring and self._ring[-1].data.shape != picture.data.shape:
            self._ring.clear()  # the camera was turned: no window has pictures of two shapes
        self._ring.append(picture)

    def _due(self, over: range) -> list[tuple[int, list[LivePicture]]]:
        """The windows to answer among those that are over, with their pictures."""
        ring = list(self._ring)
        whole = ((k, picked) for k in reversed(over) if (picked := self.windows.pick(k, ring)) is not None)
        if self._drop == "latest":
            return list(islice(whole, 1))
        return list(whole)[::-1]

    def _answer(self, k: int, picked: list[LivePicture]) -> LiveAnswer:
        *seen, last = picked
        frames = Frames(
            torch.stack([picture.data for picture in seen]),
            tuple(range(len(seen))),
            tuple(picture.start for picture in seen),
            self.pictures.name,
        )
        scores = merge_views(self._predictor.logits([to_clip(frames, self._predictor.preprocess)]))
        best = best_labels(scores, self._predictor.labels, top=self._top, of=self.pictures.name)
        predictions = tuple(scored for scored in best if scored.score >= self._threshold)
        self.answered += 1
        delay = self._clock() - last.arrived
        return LiveAnswer(*self.windows.span(k), predictions, delay, self.pictures.dropped, self.skipped)
