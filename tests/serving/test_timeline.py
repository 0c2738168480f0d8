"""Timelines: each frame is read once, every score is the predictor's own, and what is made of the scores."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba import Predictor
from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.windows import Windows
from videomamba.schema import Clip, Frames, VideoError, VideoMambaError, WeightsError
from videomamba.serving.live import watch
from videomamba.serving.timeline import Timeline, timeline, timeline_name
from videomamba.serving.whole import whole
from videomamba.synthetic.dataset import render_clip
from videomamba.synthetic.film import plan_events, write_film
from videomamba.video.base import Video
from videomamba.video.encode import write_video
from videomamba.video.open import open_video
from videomamba.weights.released import ACTIONS_MODEL


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds at 8 fps."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_film(path, plan_events(2, seconds=20, seed=1), seconds=20, fps=8, height=64, width=80, seed=1)
    return path


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.from_pretrained(bundle)  # 4 frames


def alone(predictor: Predictor, path: Path, indices: np.ndarray) -> np.ndarray:
    """What the predictor says of the frames `indices`, read and looked at by themselves."""
    with open_video(path) as video:
        clip = to_clip(video.frames(indices.tolist()), predictor.preprocess)
    return predictor.logits([clip]).softmax(1)[0].numpy()


class Watch:
    """Notes which frames were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, ...]] = []
        original = Video.frames

        def frames(video: Video, indices: list[int]) -> Frames:
            self.asked.append(tuple(indices))
            return original(video, indices)

        monkeypatch.setattr(Video, "frames", frames)


@pytest.mark.parametrize(("window", "stride"), [(2.0, 1.0), (2.0, 0.3), (3.1, 1.7)])
def test_every_window_is_what_the_predictor_says_of_it_alone(
    predictor: Predictor, film: Path, window: float, stride: float
) -> None:
    found = timeline(predictor, film, window=window, stride=stride, batch=3)
    with open_video(film) as video:
        frames = Windows(window, stride, 4).frames(video.timestamps, found.starts, found.duration)
    assert found.scores.shape == (len(found.starts), 16) and found.scores.dtype == np.float32
    assert found.starts[-1] + window == pytest.approx(found.duration) == pytest.approx(20.0)
    for place in {0, 1, len(found.starts) // 2, len(found.starts) - 2, len(found.starts) - 1}:
        np.testing.assert_allclose(found.scores[place], alone(predictor, film, frames[place]), atol=1e-5)


@pytest.mark.parametrize("stride", [1.0, 0.3, 1.9])
def test_each_frame_is_read_once_in_one_walk(
    predictor: Predictor, film: Path, stride: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    found = timeline(predictor, film, window=2.0, stride=stride)
    asked = [index for call in watch.asked for index in call]
    assert asked == sorted(set(asked)) and len(asked) == found.frames_decoded
    assert max(map(len, watch.asked)) <= 16  # pictures at their full size


def test_overlapping_windows_share_their_frames_where_the_stride_allows(predictor: Predictor, film: Path) -> None:
    # Parts of half a second: 40 moments in 20 s, however many windows look at them.
    assert timeline(predictor, film, window=2.0, stride=0.5).frames_decoded == 40
    assert timeline(predictor, film, window=2.0, stride=1.0).frames_decoded == 40
    assert timeline(predictor, film, window=2.0, stride=2.0).frames_decoded == 40


def test_batches_change_nothing_and_progress_counts_windows(predictor: Predictor, film: Path) -> None:
    counted: list[tuple[int, int]] = []
    one = timeline(predictor, film, window=2.0, stride=1.0, batch=1)
    seven = timeline(predictor, film, window=2.0, stride=1.0, batch=7, progress=lambda *at: counted.append(at))
    np.testing.assert_allclose(one.scores, seven.scores, atol=1e-5)
    assert counted == [(7, 19), (14, 19), (19, 19)]


def test_a_film_shorter_than_a_window(predictor: Predictor, clips: Path) -> None:
    found = timeline(predictor, clips / "clip0.mp4", window=10.0, stride=5.0)  # 12 frames at 8 fps
    assert found.starts.tolist() == [0.0] and found.duration == pytest.approx(1.5)
    np.testing.assert_allclose(
        found.scores[0], alone(predictor, clips / "clip0.mp4", np.array([1, 4, 7, 10])), atol=1e-5
    )


def test_a_single_picture(predictor: Predictor, tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", render_clip(0, 0, num_frames=8, height=64, width=80)[:1])
    found = timeline(predictor, tmp_path / "one.mp4", window=2.0, stride=1.0, thumbnails=3)
    assert found.scores.shape == (1, 16) and found.duration == 0.0 and found.frames_decoded == 1
    assert len(found.thumbnails) == 1


def test_thumbnails_are_small_and_spread_over_the_film(predictor: Predictor, film: Path) -> None:
    found = timeline(predictor, film, window=2.0, stride=1.0, thumbnails=5)
    assert [picture.shape for _, picture in found.thumbnails] == [(64, 80, 3)] * 5
    assert np.diff([time for time, _ in found.thumbnails]) == pytest.approx([4.0] * 4, abs=0.5)
    assert timeline(predictor, film, window=2.0, stride=1.0, thumbnails=0).thumbnails == ()


def test_decoding_runs_ahead_of_a_slow_network_by_a_few_pieces_only(
    predictor: Predictor, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videomamba.serving.window_walk._FRAMES_AT_ONCE", 4)
    monkeypatch.setattr("videomamba.serving.window_walk._FRAMES_AHEAD", 8)
    watch = Watch(monkeypatch)
    ahead: list[int] = []
    original = predictor.logits

    def slow(clips: list[Clip]) -> torch.Tensor:
        time.sleep(0.01)
        ahead.append(sum(index > clips[-1].indices[-1] for call in list(watch.asked) for index in call))
        return original(clips)

    monkeypatch.setattr(predictor, "logits", slow)
    found = timeline(predictor, film, window=2.0, stride=0.25, batch=2)
    assert found.frames_decoded > 70 and len(ahead) == 37
    assert 0 < max(ahead) <= 4 * 4  # a part of the present piece, two that wait, one that is being read


def test_a_film_that_breaks_off_is_an_error_of_that_film(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        timeline(predictor, clips / "notes.mp4", window=2.0, stride=1.0)
    with pytest.raises(VideoError, match=r"absent\.mp4: no such file"):
        timeline(predictor, tmp_path / "absent.mp4", window=2.0, stride=1.0)
    (tmp_path / "1.png").write_text("not a picture")
    with pytest.raises(VideoError) as raised:
        timeline(predictor, tmp_path, window=2.0, stride=1.0)
    assert raised.value.path == str(tmp_path) and "1.png" in raised.value.reason


def test_an_error_in_the_thread_arrives_and_an_interrupt_ends_it(
    predictor: Predictor, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Video.frames
    calls = Counter[str]()

    def breaks(video: Video, indices: list[int]) -> Frames:
        calls["frames"] += 1
        if calls["frames"] == 2:
            raise VideoError(video.info.path, "frame 20 is damaged")
        return original(video, indices)

    monkeypatch.setattr(Video, "frames", breaks)
    with pytest.raises(VideoError, match="frame 20 is damaged"):
        timeline(predictor, film, window=2.0, stride=1.0)
    monkeypatch.setattr(Video, "frames", original)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timeline(predictor, film, window=2.0, stride=1.0, batch=1, progress=interrupt)
    assert timeline(predictor, film, window=2.0, stride=1.0).scores.shape == (19, 16)


def test_damaged_weights_are_named(bundle: Path, film: Path) -> None:
    damaged = Predictor.from_pretrained(bundle)
    with torch.no_grad():
        damaged.model.head.weight.fill_(float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        timeline(damaged, film, window=2.0, stride=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0.0}, "window 0: give a length in seconds"),
        ({"window": 2.0, "stride": 3.0}, "stride 3: longer than the window of 2 s"),
        ({"threshold": 0.0}, "threshold 0: give a probability"),
        ({"bridge": -1.0}, "bridge -1: give seconds, 0 or more"),
        ({}, "window: the model does not say"),
    ],
)
def test_options_that_make_no_sense(predictor: Predictor, options: dict[str, float], message: str) -> None:
    with pytest.raises(VideoMambaError, match=message):
        timeline(predictor, "never_opened.mp4", **options)


@pytest.mark.parametrize("use", [timeline, whole, watch])
def test_a_name_is_no_predictor(use: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"^'a\.pth' is no Predictor; open it first: \w+\(Predictor\.from_pretrained\("):
        use("a.pth", "never_opened.mp4")


def test_what_a_timeline_writes(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = timeline(predictor, clips / "clip0.mp4", window=0.8, stride=0.4, threshold=0.2)
    found.write(tmp_path / "new" / "out")
    assert json.loads((tmp_path / "new" / "out" / "clip0.timeline.json").read_text()) == found.as_dict()
    found.draw(tmp_path / "picture.png")
    drawn = (tmp_path / "picture.png").read_bytes()
    assert drawn.startswith(b"\x89PNG") and drawn == (tmp_path / "new" / "out" / "clip0.timeline.png").read_bytes()
    found.write(tmp_path / "text", picture=False)
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["clip0.timeline.json"]
    replace(found, video=replace(found.video, path="caf\udce9.mp4")).write(tmp_path / "text")
    assert (tmp_path / "text" / "caf\udce9.timeline.png").is_file()
    assert timeline_name(clips) == clips.name and timeline_name(tmp_path / "a.b.mp4") == "a.b"


def test_segments_by_other_rules_than_the_timeline_s_own(predictor: Predictor, clips: Path) -> None:
    found = timeline(predictor, clips / "clip0.mp4", window=0.8, stride=0.4, threshold=0.2)
    assert found.segments() and found.segments() == found.segments(threshold=0.2, bridge=0.0, shortest=0.0)
    assert found.segments(threshold=1.0) == found.segments(shortest=10.0) == []
    with pytest.raises(VideoMambaError, match=r"threshold 1\.5: give a probability"):
        found.segments(threshold=1.5)
    with pytest.raises(VideoMambaError, match="shortest -1"):
        replace(found, shortest=-1.0)


def test_the_packaged_model_finds_what_happens_in_a_film(tmp_path: Path) -> None:
    events = plan_events(2, seconds=20, seed=4, actions=("move_right", "grow", "scatter"))
    write_film(tmp_path / "film.mp4", events, seconds=20, seed=4)
    found = timeline(Predictor.from_pretrained(ACTIONS_MODEL), tmp_path / "film.mp4")
    assert isinstance(found, Timeline) and (found.window, found.stride) == (2.0, 1.0)
    for event in events:
        near = [s for s in found.segments() if s.label == event.action and s.start < event.end and s.end > event.start]
        assert len(near) == 1 and abs(near[0].start - event.start) <= 1 and abs(near[0].end - event.end) <= 1
