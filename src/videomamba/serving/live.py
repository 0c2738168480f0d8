"""Answers about a stream while it runs: every `stride` seconds one about its last `window` seconds.

A thread (`video.live`) decodes, scales and keeps pictures, at most those of one window and one stride. The thread that
iterates over the answers runs the network. Where that takes longer than a stride, "latest" skips windows: the next answer
is about the newest window that is over, which ended less than a stride ago. So the delay of an answer is at most one stride,
one run of the network and one picture, which shows that the window is over. "all" answers every window.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Self

import torch
from torch import Tensor

from videomamba.data.clips.transforms import Covering, covering, crop_clip
from videomamba.data.clips.windows import ROUNDED_TIMES, Windows
from videomamba.evaluation.scoring import merge_views
from videomamba.schema import Clip, Frames, ScoredLabel, VideoMambaError
from videomamba.serving.clip_model import check_model
from videomamba.serving.predictor import Predictor, best_labels
from videomamba.serving.shots.latest import LatestTransition
from videomamba.serving.shots.motions import UNSURE_BELOW
from videomamba.serving.shots.records import Transition, knows_shots
from videomamba.video.live.source import Drop, LivePicture, LiveSource

_MOST_PICTURES = 4096


@dataclass(frozen=True)
class LiveAnswer:
    """The classes of one window that reach the threshold, best first.

    `start` and `end` are seconds of the stream. `delay` are the seconds from the decoding of the window's last picture to
    the answer. `dropped` pictures and `skipped` windows are counted from the beginning. `model` is the name of the network
    that answered, "" where it has none.

    Of a model of camera motion, whose labels contain "cut" and "fade": `transition` is the one that this window shows and
    earlier ones did not report, with its time in seconds of the stream; `unsure` says that no class is probable enough.
    """

    start: float
    end: float
    predictions: tuple[ScoredLabel, ...]
    delay: float
    dropped: int
    skipped: int
    model: str = ""
    unsure: bool = False
    transition: Transition | None = None

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


def watch(
    predictor: Predictor,
    source: str,
    *,
    window: float | None = None,
    stride: float | None = None,
    drop: Drop = "latest",
    top: int = 5,
    threshold: float = 0.0,
    unsure: float = UNSURE_BELOW,
    follow: bool = False,
    timeout: float = 10.0,
    reconnect: int = 3,
    notify: Callable[[str], object] = lambda message: None,
) -> LiveWatch:
    """Watches a camera, an address, a pipe or a file while it runs: iterate over the answers, one for each window.

    Every `stride` seconds of the stream an answer about its last `window` seconds; `window` None is the length of the clips
    that the model was trained on (`Preprocess.clip_seconds`), `stride` None is half a window. The network sees
    `predictor.preprocess.num_frames` pictures spread evenly over the window, whatever the sampling of its training. An
    answer has the `top` classes that reach `threshold`. A window with a break in it is skipped. A model of camera motion is
    `unsure` where no class has this probability.

    `source` is rtsp://..., http://..., camera:0, /dev/video0, - for standard input, or a file; `follow` waits for a file
    that is still being written. When the machine is too slow, `drop` "latest" answers about the present and drops older
    pictures, "all" drops nothing and lets the source wait. An address that sends nothing for `timeout` seconds is opened
    again, up to `reconnect` times in a row, and `notify` gets one line about it.

    The answers end with the stream. Iterating raises VideoError where the source cannot be opened or finally fails. Use the
    result as a context manager. Raises VideoMambaError for options out of range, or windows that need more than 4096
    pictures at once.
    """
    check_model(predictor, use="watch(Predictor.from_pretrained(NAME_OR_FILE), source)")
    if not timeout > 0:
        raise VideoMambaError(f"timeout {timeout:g}: give the seconds to wait for an address, such as 10")
    if reconnect < 0:
        raise VideoMambaError(f"reconnect {reconnect}: give the number of attempts, 0 or more")
    windows = Windows.for_model(predictor.preprocess, window=window, stride=stride, tolerance=ROUNDED_TIMES)
    if windows.capacity > _MOST_PICTURES:
        raise VideoMambaError(
            f"stride {windows.stride:g}: windows of {windows.window:g} s so close together need {windows.capacity} "
            f"pictures at once, more than {_MOST_PICTURES}; choose a longer stride"
        )

    def scaled(picture: Tensor) -> Tensor:
        return covering(Frames(picture[None], (0,), (0.0,), source), predictor.preprocess).data[0]

    pictures = LiveSource(
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
    watched = LiveWatch(predictor, pictures, windows, drop=drop, top=top, threshold=threshold, unsure=unsure)
    # The first run loads kernels, which takes seconds; without this the first answers would be late.
    shape = (3, windows.num_frames, *predictor.preprocess.image_size)
    predictor.logits([Clip(torch.zeros(shape), path=pictures.name)])
    return watched


class LiveWatch(Iterator[LiveAnswer]):
    """The answers about one stream. `skipped` counts the finished windows without an answer, `answered` the others.

    The pictures of `pictures`, which starts and ends with this context, are scaled to cover the predictor's clips. Raises
    VideoMambaError for no classes, or a threshold outside 0 to 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        pictures: LiveSource,
        windows: Windows,
        *,
        drop: Drop = "latest",
        top: int = 5,
        threshold: float = 0.0,
        unsure: float = UNSURE_BELOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("threshold", threshold), ("unsure", unsure)):
            if not 0 <= value <= 1:
                raise VideoMambaError(f"{name} {value:g}: give a probability, 0 to 1")
        if top < 1:
            raise VideoMambaError(f"top {top}: give at least 1 class")
        self.pictures = pictures
        self.windows = windows
        self.answered = 0
        self.skipped = 0
        self._predictor, self._drop, self._clock = predictor, drop, clock
        self._top, self._threshold, self._unsure = top, threshold, unsure
        labels = predictor.labels
        self._latest = LatestTransition(labels, predictor.preprocess) if knows_shots(labels) else None
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
            # "all" checks after every picture: a batch may be longer than the ring.
            for batch in [taken] if self._drop == "latest" else [[picture] for picture in taken]:
                for picture in batch:
                    self._keep(picture)
                over = range(following, self.windows.last_over(batch[-1].stop) + 1)
                if over:
                    following = over.stop
                    due = self._due(over)
                    self.skipped += len(over) - len(due)
                    for k, picked in due:
                        yield self._answer(k, picked)

    def _keep(self, picture: LivePicture) -> None:
        if self._ring and self._ring[-1].data.shape != picture.data.shape:
            self._ring.clear()  # the camera was rotated: no window has pictures of two shapes
        self._ring.append(picture)

    def _due(self, over: range) -> list[tuple[int, list[LivePicture]]]:
        """The windows to answer among those that are over, with their pictures."""
        ring = list(self._ring)
        starts, stops = [picture.start for picture in ring], [picture.stop for picture in ring]
        picks = ((k, self.windows.pick(k, starts, stops)) for k in reversed(over))
        complete = ((k, [ring[place] for place in places]) for k, places in picks if places is not None)
        if self._drop == "latest":
            return list(islice(complete, 1))
        return list(complete)[::-1]

    def _answer(self, k: int, picked: list[LivePicture]) -> LiveAnswer:
        *seen, last = picked
        frames = Frames(
            torch.stack([picture.data for picture in seen]),
            tuple(range(len(seen))),
            tuple(picture.start for picture in seen),
            self.pictures.name,
        )
        clip = crop_clip(Covering(frames), self._predictor.preprocess)
        scores = merge_views(self._predictor.logits([clip]))
        best = best_labels(scores, self._predictor.labels, top=self._top, of=self.pictures.name)
        predictions = tuple(scored for scored in best if scored.score >= self._threshold)
        transition = self._latest.find(scores, clip, frames.timestamps) if self._latest else None
        unsure = self._latest is not None and best[0].score < self._unsure
        self.answered += 1
        delay = self._clock() - last.arrived
        counts = (self.pictures.dropped, self.skipped)
        return LiveAnswer(*self.windows.span(k), predictions, delay, *counts, self._predictor.name, unsure, transition)
