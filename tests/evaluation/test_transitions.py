"""Found transitions against true ones."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.evaluation.transitions import TransitionScores, match_times, overlapping, pooled, score_transitions

times = st.lists(st.integers(0, 20).map(lambda tenths: tenths / 10), max_size=4, unique=True).map(sorted)


def test_by_hand() -> None:
    scores = score_transitions([1.0, 2.1, 9.0], [1.1, 2.0, 5.0, 6.0])
    assert (scores.found, scores.true, scores.matched) == (3, 4, 2)
    assert scores.precision == pytest.approx(2 / 3) and scores.recall == 0.5 and scores.error == pytest.approx(0.1)


def test_one_true_transition_is_found_once() -> None:
    assert match_times([0.9, 1.0, 1.1], [1.0]) == [(1, 0)]
    # The nearest pair first would leave the others alone.
    assert match_times([1.0, 1.15], [1.1, 1.3]) == [(0, 0), (1, 1)]


def test_the_tolerance_itself_is_within() -> None:
    assert score_transitions([1.2], [1.0]).matched == 1 and score_transitions([1.21], [1.0]).matched == 0


def test_nothing_found_and_nothing_to_find() -> None:
    assert score_transitions([], []) == TransitionScores(0, 0, 0, None)
    assert score_transitions([], [1.0]).precision is None and score_transitions([], [1.0]).recall == 0
    assert score_transitions([1.0], []).recall is None and score_transitions([1.0], []).precision == 0


def test_films_together() -> None:
    one, two = score_transitions([1.0], [1.1]), score_transitions([1.0, 5.0], [1.0, 2.0])
    both = pooled([one, two, score_transitions([], [3.0])])
    assert (both.found, both.true, both.matched) == (3, 4, 2) and both.error == pytest.approx(0.05)


@given(times, times)
def test_no_other_pairing_is_better(found: list[float], true: list[float]) -> None:
    pairs = match_times(found, true, tolerance=0.35)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    distance = sum(abs(found[i] - true[j]) for i, j in pairs)
    for size in range(min(len(found), len(true)), len(pairs) - 1, -1):
        for some in combinations(range(len(found)), size):
            for others in permutations(range(len(true)), size):
                gaps = [abs(found[i] - true[j]) for i, j in zip(some, others, strict=True)]
                if all(gap <= 0.35 for gap in gaps):
                    assert size == len(pairs) and sum(gaps) >= distance - 1e-9


def test_times_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        match_times([2.0, 1.0], [])


def test_spans_that_share_half_of_their_time() -> None:
    true = [(1.0, 2.0), (4.0, 5.0), (7.0, 8.0)]
    assert overlapping([(1.3, 2.3), (4.4, 5.4), (7.0, 7.5)], true) == 2  # 0.7 of 1.3 and 0.5 of 1.0, not 0.6 of 1.4
    assert overlapping([], true) == overlapping([(2.0, 3.0)], true) == overlapping([(1.5, 1.5)], true) == 0
