"""Cuts, fades and motions in films that are rendered here, with a network that is always right or often wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.serving.shots.films import FPS, LABELS, Errs, Knows, film
from videomamba.schema import Frames, VideoError, VideoMambaError
from videomamba.serving.shots.motions import find_shots
from videomamba.serving.shots.records import MotionSpan, Shot, Transition, knows_shots
from videomamba.serving.timeline import timeline
from videomamba.video.base import Video
from videomamba.video.pyav import PyavVideo


@pytest.mark.parametrize("restarts", [True, False])
def test_a_cut_is_found_to_the_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool) -> None:
    if not restarts:
        monkeypatch.setattr(PyavVideo, "restarts", Video.restarts)
    changes = [("cut", time, time) for time in (2.32, 3.68, 5.0, 6.6)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 8, changes))
    assert [t.kind for t in found.transitions] == ["cut"] * 4
    assert [t.time for t in found.transitions] == pytest.approx([time for _, time, _ in changes])
    for transition in found.transitions:
        assert (
            transition.end == transition.time and transition.start >= transition.end - 0.13 and transition.score > 0.9
        )
    assert [shot.start for shot in found.shots[1:]] == [t.time for t in found.transitions]
    assert (found.shots[0].start, found.shots[-1].end) == (0.0, pytest.approx(8.0))


def test_a_cut_between_frames_that_cannot_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [("cut", 2.32, 2.32)]
    path = film(tmp_path / "film.mp4", 5, changes)
    asked: list[int] = []
    read = PyavVideo.frames

    def broken(video: PyavVideo, indices: Sequence[int]) -> Frames:
        if asked and min(indices) < max(asked):
            raise VideoError(path, "damaged")
        asked.extend(indices)
        return read(video, indices)

    monkeypatch.setattr(PyavVideo, "restarts", Video.restarts)
    monkeypatch.setattr(PyavVideo, "frames", broken)
    (cut,) = timeline(Knows(changes), path).transitions
    assert cut.start < 2.32 <= cut.end <= cut.start + 0.125 and abs(cut.time - 2.32) <= 2 / FPS


def test_two_cuts_in_one_window(tmp_path: Path) -> None:
    changes = [("cut", 3.0, 3.0), ("cut", 3.4, 3.4)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 6, changes))
    assert [t.time for t in found.transitions] == pytest.approx([3.0, 3.4], abs=0.09)
    assert found.shots[1].motions[0].label == "unsure"  # no window fits into it


@pytest.mark.parametrize("speed", [1 / 3, 0.5])
@pytest.mark.parametrize("black", [False, True])
def test_a_fade_from_its_start_to_its_end(tmp_path: Path, black: bool, speed: float) -> None:
    changes = [("fade", 3.0, 4.0)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 7, changes, black=black, speed=speed))
    assert [t.kind for t in found.transitions] == ["fade"]
    fade = found.transitions[0]
    assert (fade.start, fade.end, fade.time) == pytest.approx((3.0, 4.0, 3.5), abs=0.2)
    assert len(found.shots) == 2


@pytest.mark.parametrize("black", [False, True])
def test_two_short_fades_in_a_row(tmp_path: Path, black: bool) -> None:
    changes = [("fade", 2.0, 2.56), ("fade", 3.6, 4.0)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 6, changes, black=black))
    assert [(t.kind, t.time) for t in found.transitions] == [
        ("fade", pytest.approx(2.28, abs=0.15)),
        ("fade", pytest.approx(3.8, abs=0.15)),
    ]


def test_a_network_that_overlooks_cuts_near_ends_of_windows_and_sees_some_that_are_not_there(tmp_path: Path) -> None:
    times = np.arange(1.52, 20, 1.84).round(2).tolist()
    changes = [
        ("fade", time, time + 0.6) if place % 4 == 3 else ("cut", time, time) for place, time in enumerate(times)
    ]
    found = timeline(Errs(changes, seed=0), film(tmp_path / "film.mp4", 22, changes))
    assert [t.kind for t in found.transitions] == [kind for kind, _, _ in changes]
    assert [t.time for t in found.transitions] == pytest.approx(
        [(start + end) / 2 for _, start, end in changes], abs=0.2
    )


class Doubts(Knows):
    """Sees a fade with 0.65 in the window from 2.25 s on, and nothing else."""

    def _scores(self, start: float, end: float) -> Tensor:
        if not 2.2 < start < 2.4:
            return super()._scores(start, end)
        return torch.tensor([0.65 if label == "fade" else 0.0875 for label in LABELS]).log()


def test_one_window_that_sees_a_fade_where_the_picture_hardly_changes_is_outvoted(tmp_path: Path) -> None:
    assert timeline(Doubts(), film(tmp_path / "film.mp4", 6, [], speed=0.1)).transitions == ()
    assert len(timeline(Doubts(), film(tmp_path / "film.mp4", 6, [("fade", 2.7, 3.3)])).transitions) == 1


def test_a_cut_beside_a_fade(tmp_path: Path) -> None:
    changes = [("fade", 2.0, 2.8), ("cut", 4.2, 4.2), ("fade", 5.4, 6.0)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 8, changes))
    assert [t.kind for t in found.transitions] == ["fade", "cut", "fade"]
    assert [t.time for t in found.transitions] == pytest.approx([2.4, 4.2, 5.7], abs=0.2)


def test_the_picture_may_jump_where_the_network_sees_no_cut(tmp_path: Path) -> None:
    found = timeline(Knows(), film(tmp_path / "film.mp4", 5, [("cut", 2.0, 2.0)]))
    assert found.transitions == () and len(found.shots) == 1


def test_motions_of_a_shot_and_what_is_unsure(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 9, [("cut", 4.0, 4.0)])
    motions = [(0.0, "pan_left", 0.9), (4.0, "zoom_in", 0.8), (6.5, "static", 0.5)]
    found = timeline(Knows([("cut", 4.0, 4.0)], motions=motions), path)
    labels = [[span.label for span in shot.motions] for shot in found.shots]
    assert labels == [["pan_left"], ["zoom_in", "unsure"]]
    assert found.shots[0].motions[0].score == pytest.approx(0.9)
    assert found.shots[1].motions[0].end == found.shots[1].motions[1].start == pytest.approx(6.5, abs=0.5)
    assert [shot.main_motion for shot in found.shots] == ["pan_left", found.shots[1].main_motion]
    lower = timeline(Knows([("cut", 4.0, 4.0)], motions=motions), path, unsure=0.4)
    assert [span.label for span in lower.shots[1].motions] == ["zoom_in", "static"]
    with pytest.raises(VideoMambaError, match=r"unsure 1\.5: give a probability"):
        timeline(Knows(), path, unsure=1.5)


def test_a_video_shorter_than_a_window_and_a_single_picture(tmp_path: Path) -> None:
    for seconds in (0.8, 1 / FPS):
        found = timeline(Knows(), film(tmp_path / "film.mp4", seconds, []))
        assert found.transitions == () and [span.label for span in found.shots[0].motions] == ["static"]


def test_short_spans_are_absorbed() -> None:
    starts = np.arange(0, 3.01, 0.2)
    scores = np.zeros((len(starts), len(LABELS)))
    scores[:, 0] = 0.9
    scores[7, :2] = 0.0, 0.9  # one window of 0.2 s says pan_left
    shots = find_shots(scores, starts, 1.0, LABELS, [], 4.0)
    assert shots == [Shot(0.0, 4.0, (MotionSpan("static", 0.0, 4.0, pytest.approx(0.9)),))]


def test_windows_that_show_another_shot_have_no_voice() -> None:
    starts = np.array([0.0, 1.0, 2.0, 3.0])
    scores = np.full((4, len(LABELS)), 0.02)
    scores[[0, 1, 2, 3], [1, 2, 2, 0]] = 0.92
    cut = Transition("cut", 1.9, 2.0, 2.0, 0.9)
    shots = find_shots(scores, starts, 2.0, LABELS, [cut], 5.0)
    # The window from 1 s on sees both shots.
    assert [[(m.label, m.start, m.end) for m in shot.motions] for shot in shots] == [
        [("pan_left", 0.0, 2.0)],
        [("zoom_in", 2.0, 3.5), ("static", 3.5, 5.0)],
    ]


def test_which_models_know_shots() -> None:
    assert knows_shots(LABELS) and not knows_shots(("cut", "static")) and not knows_shots(())
