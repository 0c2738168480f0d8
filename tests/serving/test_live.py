"""Answers about a stream while it runs: which windows, which pictures, and how late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.video.clips import RECIPES, draw, encode
from videomamba import Predictor
from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.windows import ROUNDED_TIMES, Windows
from videomamba.schema import Clip, Preprocess, ScoredLabel, VideoMambaError, WeightsError
from videomamba.serving.live import LiveWatch, watch
from videomamba.video.live.source import Drop, LivePicture, LiveSource
from videomamba.video.open import open_video

FPS = 10


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Camera:
    """A stream of pictures that tell their number: picture i is on show from i / FPS and arrives then.

    Like a LiveSource it keeps `capacity` of those that are wanted, and with "latest" drops the oldest. `lost` never come.
    """

    name = "camera"

    def __init__(
        self, clock: Clock, windows: Windows, drop: Drop, *, seconds: float, lost: range = range(0), turns: int = 10**9
    ) -> None:
        self.dropped = 0
        self.most_waiting = 0
        self._clock, self._windows, self._drop = clock, windows, drop
        self._coming = self._pictures(round(seconds * FPS), lost, turns)
        self._next = next(self._coming, None)

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None: ...

    def take(self) -> list[LivePicture]:
        waiting: list[LivePicture] = []
        while self._next is not None and (self._next.stop <= self._clock.now or not waiting):
            self._clock.now = max(self._clock.now, self._next.stop)  # only then it is known how long it was on show
            if len(waiting) == self._windows.capacity:
                if self._drop == "all":
                    break
                waiting.pop(0)
                self.dropped += 1
            waiting.append(self._next)
            self._next = next(self._coming, None)
        self.most_waiting = max(self.most_waiting, len(waiting))
        return waiting

    def _pictures(self, count: int, lost: range, turns: int) -> Iterator[LivePicture]:
        for i in range(count):
            start, stop = i / FPS, (i + 1) / FPS
            if i not in lost and self._windows.wants(start, stop):
                shape = (4, 6, 3) if i < turns else (4, 5, 3)
                yield LivePicture(start, stop, start, torch.full(shape, i % 256, dtype=torch.uint8))


class Slow:
    """Takes `seconds` for an answer, and remembers the numbers of the pictures that it saw."""

    name = "slow"
    preprocess = Preprocess(num_frames=4, image_size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
    labels = ("a", "b", "c")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.seen: list[list[int]] = []
        self._clock, self._seconds = clock, seconds

    def logits(self, clips: Sequence[Clip]) -> Tensor:
        self._clock.now += self._seconds
        self.seen += [clip.data[0, :, 0, 0].round().int().tolist() for clip in clips]
        return torch.tensor([[0.0, 2.0, 1.0]]).expand(len(clips), 3)


def windows_of(window: float, stride: float) -> Windows:
    return Windows(window, stride, Slow.preprocess.num_frames, ROUNDED_TIMES)


def run(
    *, seconds: float, inference: float, window: float, stride: float, drop: Drop, **options: object
) -> tuple[LiveWatch, Slow, list]:
    clock = Clock()
    windows = windows_of(window, stride)
    predictor = Slow(clock, inference)
    camera = Camera(clock, windows, drop, seconds=seconds, **options)
    with LiveWatch(predictor, camera, windows, drop=drop, clock=clock) as watched:
        answers = list(watched)
    assert len(answers) == watched.answered == len(predictor.seen)
    return watched, predictor, answers


@pytest.mark.parametrize("drop", ["latest", "all"])
def test_a_fast_machine_answers_every_window(drop: Drop) -> None:
    watched, predictor, answers = run(seconds=10, inference=0.01, window=2, stride=0.5, drop=drop)
    assert [(a.start, a.end) for a in answers] == [(k / 2, k / 2 + 2) for k in range(17)]
    assert predictor.seen == [[5 * k + i for i in (2, 7, 12, 17)] for k in range(17)]  # on show at .25, .75, ...
    assert watched.skipped == 0 and all(a.dropped == a.skipped == 0 for a in answers)
    assert all(a.delay == pytest.approx(1 / FPS + 0.01) for a in answers)  # the next picture, and the network


@settings(max_examples=30, deadline=None)
@given(
    inference=st.floats(0.01, 15),
    stride=st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.7, 5.0]),
    window=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
)
def test_a_slow_machine_skips_windows_and_is_never_late(inference: float, stride: float, window: float) -> None:
    watched, predictor, answers = run(seconds=60, inference=inference, window=window, stride=stride, drop="latest")
    ends = [a.end for a in answers]
    assert ends == sorted(set(ends)) and len(answers) > 1
    *running, last = [a.delay for a in answers]
    assert max(running) <= stride + inference + 2 / FPS + 1e-6
    assert last <= stride + 2 * inference + 2 / FPS + 1e-6  # no newer window comes where the stream has ended
    for answer, seen in zip(answers, predictor.seen, strict=True):
        expected = [answer.start + (i + 0.5) * window / 4 for i in range(4)]
        on_show = [int((moment + 1e-3) * FPS + 1e-9) % 256 for moment in expected]
        assert seen == on_show
    total = watched.windows.last_over(60.0) + 1
    assert watched.answered + watched.skipped == total
    if inference > 2 * stride + 2 / FPS:
        assert watched.skipped > 0
    if inference < stride - 2 / FPS:
        assert watched.skipped == 0


def test_the_policy_all_answers_every_window_however_late() -> None:
    watched, predictor, answers = run(seconds=12, inference=3, window=2, stride=1, drop="all")
    assert [a.end for a in answers] == [2.0 + k for k in range(11)] and watched.skipped == 0
    assert predictor.seen == [[10 * k + i for i in (2, 7, 12, 17)] for k in range(11)]
    delays = [a.delay for a in answers]
    assert delays == sorted(delays) and delays[-1] > 20


@pytest.mark.parametrize("drop", ["latest", "all"])
def test_memory_does_not_grow_with_the_stream(drop: Drop) -> None:
    clock = Clock()
    windows = windows_of(2.0, 0.5)
    camera = Camera(clock, windows, drop, seconds=1500)
    held = 0
    with LiveWatch(Slow(clock, 3.0), camera, windows, drop=drop, clock=clock) as watched:
        for _ in watched:
            held = max(held, len(watched._ring))
    assert watched.answered >= 500
    assert max(held, camera.most_waiting) <= windows.capacity == 30


@pytest.mark.parametrize("drop", ["latest", "all"])
def test_a_window_with_a_break_in_it_is_skipped(drop: Drop) -> None:
    watched, predictor, answers = run(seconds=20, inference=0.01, window=2, stride=1, drop=drop, lost=range(52, 95))
    assert not any(set(seen) & set(range(52, 95)) for seen in predictor.seen)
    assert [a.end for a in answers] == [2.0, 3.0, 4.0, 5.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0, 20.0]
    assert watched.skipped == 6 and answers[3].skipped == 0 and answers[4].skipped == 6


def test_a_camera_that_is_turned_mixes_no_shapes() -> None:
    watched, _, answers = run(seconds=10, inference=0.01, window=2, stride=1, drop="all", turns=45)
    assert [a.end for a in answers] == [2.0, 3.0, 4.0, 7.0, 8.0, 9.0, 10.0] and watched.skipped == 2


def test_best_classes_over_a_threshold() -> None:
    clock, windows = Clock(), windows_of(2, 1)
    scores = torch.tensor([0.0, 2.0, 1.0]).softmax(0).tolist()
    for top, threshold, expected in [(1, 0.0, "b"), (5, 0.0, "bca"), (5, 0.2, "bc"), (2, 0.9, "")]:
        camera = Camera(clock, windows, "all", seconds=2)
        with LiveWatch(Slow(clock, 0), camera, windows, drop="all", top=top, threshold=threshold) as watched:
            (answer,) = watched
        assert answer.predictions == tuple(
            ScoredLabel(label, pytest.approx(scores["abc".index(label)])) for label in expected
        )
    assert set(answer.as_dict()) == {
        *("start", "end", "predictions", "delay", "dropped", "skipped", "model", "unsure", "transition")
    }


def test_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, windows = Clock(), windows_of(2, 1)
    predictor = Slow(clock, 0)
    monkeypatch.setattr(predictor, "logits", lambda clips: torch.full((1, 3), float("nan")))
    watched = LiveWatch(predictor, Camera(clock, windows, "all", seconds=3), windows, drop="all")
    with watched, pytest.raises(WeightsError, match="camera: the model's scores are not finite"):
        next(watched)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0.0}, "window 0"),
        ({"window": 3600.0, "stride": 0.1}, "stride 0.1: .* choose a longer stride"),
        ({"threshold": 2.0}, "threshold 2"),
        ({"timeout": 0.0}, "timeout 0"),
        ({"reconnect": -1}, "reconnect -1"),
        ({"top": 0}, "top 0"),
        ({"window": None}, "window: the model does not say"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, float | None], message: str) -> None:
    with pytest.raises(VideoMambaError, match=message):
        watch(Slow(Clock(), 0), "-", **({"window": 1.0} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv"])
def test_answers_equal_those_of_the_predictor_on_the_same_frames(name: str, bundle: Path, tmp_path: Path) -> None:
    recipe = RECIPES[name]._replace(frames=100)
    path = encode(tmp_path / f"film{recipe.suffix}", recipe, pictures=[draw(i // 5, (48, 64)) for i in range(100)])
    predictor = Predictor.from_pretrained(bundle)
    with watch(predictor, str(path), window=1.0, stride=0.6, drop="all", top=16) as watched:
        answers = list(watched)
        assert isinstance(watched.pictures, LiveSource) and watched.pictures.dropped == watched.skipped == 0
    assert [a.start for a in answers] == pytest.approx([0, 0.6, 1.2, 1.8, 2.4, 3.0])
    for k, answer in enumerate(answers):
        with open_video(path) as video:
            # The pictures on show in the middles of four quarters of a second, at 25 a second.
            clip = to_clip(video.frames([15 * k + i for i in (3, 9, 15, 21)]), predictor.preprocess)
        scores = predictor.logits([clip])[0].softmax(0)
        for found in answer.predictions:
            assert found.score == pytest.approx(scores[predictor.labels.index(found.label)].item(), abs=1e-5)
        assert len(answer.predictions) == 16 and answer.delay > 0
