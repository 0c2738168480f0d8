"""Segments from made-up scores."""

from __future__ import annotations

import numpy as np
import pytest

from videomamba.evaluation.segments import Segment, cell_edges, find_segments

LABELS = ("run", "sit")


def scores(*run: float) -> np.ndarray:
    """Scores of `run` in cells of one second; `sit` has the rest."""
    return np.array([[p, 1 - p] for p in run], np.float32)


def only(segments: list[Segment], label: str) -> list[tuple[float, float]]:
    return [(s.start, s.end) for s in segments if s.label == label]


def test_cells_meet_half_way_between_centres_and_fill_the_film() -> None:
    edges = cell_edges(np.array([0.0, 1.0, 2.0, 2.5]), window=2.0, duration=4.5)
    assert edges.tolist() == [0.0, 1.5, 2.5, 3.25, 4.5]
    assert cell_edges(np.zeros(1), window=2.0, duration=0.7).tolist() == [0.0, 0.7]


def test_neighbours_of_one_class_are_one_segment() -> None:
    found = find_segments(scores(0.1, 0.9, 0.8, 0.2, 0.3), np.arange(6.0), LABELS, threshold=0.7)
    assert [s.label for s in found] == ["sit", "run", "sit"]
    assert [(s.start, s.end) for s in found] == [(0, 1), (1, 3), (3, 5)]
    assert found[1].score == pytest.approx(0.85) and found[1].peak == pytest.approx(0.9)


def test_the_threshold_itself_is_enough_and_below_it_is_nothing() -> None:
    half = np.array([[0.5, 0.25]], np.float32)
    assert only(find_segments(half, np.array([0.0, 2.0]), LABELS, threshold=0.5), "run") == [(0, 2)]
    assert find_segments(half, np.array([0.0, 2.0]), LABELS, threshold=0.51) == []


def test_the_mean_is_over_time_not_over_cells() -> None:
    found = find_segments(scores(0.6, 1.0), np.array([0.0, 1.0, 4.0]), LABELS, threshold=0.6)
    assert found[0].score == pytest.approx((0.6 + 3 * 1.0) / 4)


def test_gaps_are_bridged_up_to_a_length_and_count_in_the_mean() -> None:
    run = scores(0.9, 0.1, 0.9, 0.1, 0.1, 0.9)
    options = {"edges": np.arange(7.0), "labels": LABELS, "threshold": 0.8}
    assert only(find_segments(run, **options), "run") == [(0, 1), (2, 3), (5, 6)]
    found = find_segments(run, **options, bridge=1.0)
    assert only(found, "run") == [(0, 3), (5, 6)]
    assert next(s for s in found if s.label == "run").score == pytest.approx(1.9 / 3)
    assert only(find_segments(run, **options, bridge=2.0), "run") == [(0, 6)]


def test_a_segment_goes_on_while_the_class_stays_probable() -> None:
    run = scores(0.55, 0.9, 0.6, 0.1, 0.6)
    options = {"edges": np.arange(6.0), "labels": LABELS, "threshold": 0.8}
    assert only(find_segments(run, **options), "run") == [(1, 2)]
    assert only(find_segments(run, **options, keep=0.6), "run") == [(1, 3)]
    assert only(find_segments(run, **options, keep=0.5), "run") == [(0, 3)]  # the last cell never reaches the threshold
    with pytest.raises(ValueError, match="keep must be above 0"):
        find_segments(run, **options, keep=0.9)


def test_short_segments_are_dropped_after_bridging() -> None:
    run = scores(0.9, 0.1, 0.9, 0.1, 0.1, 0.9)
    options = {"edges": np.arange(7.0), "labels": LABELS, "threshold": 0.8}
    assert only(find_segments(run, **options, shortest=1.5), "run") == []
    assert only(find_segments(run, **options, shortest=1.5), "sit") == [(3, 5)]
    assert only(find_segments(run, **options, bridge=1.0, shortest=3.0), "run") == [(0, 3)]


def test_classes_may_overlap_below_one_half() -> None:
    found = find_segments(np.full((2, 2), 0.4, np.float32), np.arange(3.0), LABELS, threshold=0.3)
    assert [(s.label, s.start, s.end) for s in found] == [("run", 0, 2), ("sit", 0, 2)]


def test_a_single_picture_lasts_no_time() -> None:
    found = find_segments(scores(0.9), np.zeros(2), LABELS, threshold=0.5)
    assert found == [Segment("run", 0.0, 0.0, pytest.approx(0.9), pytest.approx(0.9))]


@pytest.mark.parametrize(
    ("edges", "threshold", "message"),
    [
        ([0.0, 1.0], 0.5, "do not fit 2 edges"),
        ([0.0, 1.0, 2.0], 0.0, "threshold must be above 0"),
        ([0.0, 1.0, 2.0], 1.5, "threshold must be above 0"),
        ([0.0, 2.0, 1.0], 0.5, "edges must not descend"),
    ],
)
def test_what_makes_no_sense_is_a_programming_error(edges: list[float], threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_segments(scores(0.5, 0.5), np.array(edges), LABELS, threshold=threshold)
