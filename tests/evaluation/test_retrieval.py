"""Ranks and recalls against a slow plain definition: both directions, ties, several texts a video and videos a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from videomamba.evaluation.retrieval import (
    Pairs,
    Recall,
    Reranked,
    RetrievalReport,
    RetrievalResult,
    candidates,
    ranks,
    recalls,
)

Matrix = NDArray[np.float32]
LEVELS = [-1.0, 0.0, 0.5, float("nan")]
"""Few values, so that ties are common."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, Pairs, Matrix, int]:
    """Similarities (videos, texts), which texts belong to which videos, match logits, and the number of candidates."""
    videos, texts = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    owners = [set(draw(st.sets(st.integers(0, videos - 1), min_size=1))) for _ in range(texts)]
    for video in range(videos):  # none is silent
        if not any(video in mine for mine in owners):
            owners[video % texts].add(video)
    values = st.lists(st.sampled_from(LEVELS), min_size=videos * texts, max_size=videos * texts)
    matrices = [np.array(draw(values), dtype=np.float32).reshape(videos, texts) for _ in range(2)]
    pairs = Pairs(tuple(tuple(sorted(mine)) for mine in owners), videos)
    return matrices[0], pairs, matrices[1], draw(st.integers(1, 8))


def plain_rank(row: list[float], right: set[int], first: list[int] | None, logits: list[float] | None) -> int:
    """One more than the wrong candidates that are not surely behind the best right one."""

    def behind(wrong: float, best: float) -> bool:
        return wrong < best  # False for NaN

    def number(value: float) -> float:
        return -np.inf if np.isnan(value) else value

    if first is not None and logits is not None and right & set(first):
        pairs = list(zip(first, logits, strict=True))
        best = max(number(logit) for candidate, logit in pairs if candidate in right)
        return 1 + sum(candidate not in right and not behind(logit, best) for candidate, logit in pairs)
    best = max(number(row[candidate]) for candidate in right)
    return 1 + sum(i not in right and not behind(score, best) for i, score in enumerate(row))


@given(cases())
def test_ranks_are_those_of_the_definition(case: tuple[Matrix, Pairs, Matrix, int]) -> None:
    scores, pairs, logits, k = case
    for matrix, matches, right in ((scores, logits, pairs.texts), (scores.T, logits.T, pairs.videos)):
        chosen = candidates(matrix, k)
        reranked = Reranked(chosen, np.take_along_axis(matches, chosen, axis=1))
        rows = [row.tolist() for row in matrix]
        assert ranks(matrix, right) == tuple(
            plain_rank(row, set(mine), None, None) for row, mine in zip(rows, right, strict=True)
        )
        assert ranks(matrix, right, reranked) == tuple(
            plain_rank(row, set(mine), first, found)
            for row, mine, first, found in zip(rows, right, chosen.tolist(), reranked.scores.tolist(), strict=True)
        )


@given(cases(), st.randoms())
def test_the_order_of_the_data_changes_nothing(case: tuple[Matrix, Pairs, Matrix, int], random: Any) -> None:
    scores, pairs, _, _ = case
    order = list(range(pairs.num_videos))
    random.shuffle(order)
    place = {video: i for i, video in enumerate(order)}
    moved = Pairs(tuple(tuple(sorted(place[v] for v in mine)) for mine in pairs.videos), pairs.num_videos)
    one, other = recalls(scores, pairs), recalls(scores[order], moved)
    assert one.t2v == other.t2v and [one.v2t.ranks[video] for video in order] == list(other.v2t.ranks)


@given(cases())
def test_candidates_are_the_best_in_a_fixed_order(case: tuple[Matrix, Pairs, Matrix, int]) -> None:
    scores, _, _, k = case
    for row, found in zip(np.nan_to_num(scores, nan=-9), candidates(np.nan_to_num(scores, nan=-9), k), strict=True):
        assert found.tolist() == sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]


def test_candidates_need_a_number_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        candidates(np.zeros((1, 1), dtype=np.float32), 0)


def test_equal_scores_find_nothing() -> None:
    """Neither the first nor the last of equal candidates is preferred, whichever is right."""
    pairs = Pairs(tuple((i,) for i in range(20)), 20)
    same = np.zeros((20, 20), dtype=np.float32)
    chosen = candidates(same, 12)
    reranked = Reranked(chosen, np.zeros(chosen.shape, dtype=np.float32))
    result = recalls(same, pairs, t2v=reranked, v2t=reranked)
    for recall in (result.t2v, result.v2t):
        assert recall.within(10) == 0 and set(recall.ranks) == {12, 20}
    assert result.mean_recall == 0


def test_matches_replace_the_order_among_the_candidates_only() -> None:
    scores = np.array([[4, 3, 2, 1]], dtype=np.float32)
    reranked = Reranked(np.array([[0, 1]]), np.array([[-200, -100]], dtype=np.float32))
    assert [ranks(scores, [(right,)])[0] for right in range(4)] == [1, 2, 3, 4]
    assert [ranks(scores, [(right,)], reranked)[0] for right in range(4)] == [2, 1, 3, 4]
    assert ranks(scores, [(0, 3)], reranked) == (2,) and ranks(scores, [(2, 3)], reranked) == (3,)


def test_several_captions_and_several_videos() -> None:
    """The best of them counts, and the others are no rivals."""
    pairs = Pairs(((0,), (0,), (1, 2)), 3)
    assert pairs.texts == ((0, 1), (2,), (2,))
    scores = np.array([[9, 1, 5], [8, 2, 5], [7, 3, 9]], dtype=np.float32)
    result = recalls(scores, pairs)
    assert result.t2v.ranks == (1, 3, 1) and result.v2t.ranks == (1, 2, 1)


def test_missed_videos_are_wrong_and_no_rivals() -> None:
    pairs = Pairs(((0,), (1,), (2,), (1, 2)), 3)
    scores = np.array([[1, 0, 0, 0], [9, 9, 9, 9], [0, 0, 1, 1]], dtype=np.float32)
    result = recalls(scores, pairs, missed=[1])
    assert result.t2v.ranks == (1, 3, 1, 1) and result.t2v.missed == {1}
    assert result.v2t.ranks == (1, 3, 1) and result.v2t.missed == {1}
    assert result.t2v.within(10) == 3 and result.v2t.within(10) == 2
    assert scores[1, 0] == 9  # the caller's


def test_recall_has_the_usual_numbers() -> None:
    recall = Recall((1, 5, 6, 10, 11, 100), frozenset({5}))
    assert (recall.queries, recall.r1, recall.r5, recall.r10) == (6, 1 / 6, 2 / 6, 4 / 6)
    assert recall.median == 8 and recall.mean == pytest.approx(133 / 6)
    low, high = recall.r1_interval
    assert low < 1 / 6 < high
    assert str(recall) == "R@1/5/10 16.7% / 33.3% / 66.7%, median rank 8, mean 22.2, 6 queries"
    result = RetrievalResult(recall, Recall((1,)))
    assert result.mean_recall == pytest.approx((7 / 6 + 3) / 6)


@pytest.mark.parametrize(
    ("videos", "number", "message"),
    [
        (((),), 1, "text 0: videos"),
        (((0, 0),), 1, "must be different ones of 0..0"),
        (((1,),), 1, "must be different ones of 0..0"),
        (((0,), (0,)), 3, "2 videos without a text"),
    ],
)
def test_pairs_that_are_none(videos: tuple[tuple[int, ...], ...], number: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs(videos, number)


def test_shapes_that_do_not_fit() -> None:
    pairs = Pairs(((0,), (1,)), 2)
    with pytest.raises(ValueError, match=r"similarity must be \(2, 2\)"):
        recalls(np.zeros((2, 3), dtype=np.float32), pairs)
    with pytest.raises(ValueError, match="at least one text"):
        recalls(np.zeros((0, 0), dtype=np.float32), Pairs((), 0))
    with pytest.raises(ValueError, match="2 rows for 1 queries"):
        ranks(np.zeros((2, 2), dtype=np.float32), [(0,)])


def test_a_report_says_all() -> None:
    dual = RetrievalResult(Recall((2, 1)), Recall((1, 2)))
    better = RetrievalResult(Recall((1, 1)), Recall((1, 1)))
    report = RetrievalReport("8 frames", dual, better, ("a.mp4", "b.mp4"), ("one", "two"), (("c.mp4", "damaged"),))
    assert report.best is better
    assert [(method, direction) for method, direction, _ in report.rows] == [
        (method, direction)
        for method in ("dual encoder", "re-ranked")
        for direction in ("text to video", "video to text")
    ]
    assert str(report).splitlines()[-2:] == ["1 video missed and counted as wrong", "[8 frames]"]
    assert report.queries()[0] == {
        "direction": "text to video", "query": "one", "missed": False, "rank": 2, "rank_reranked": 1
    }  # fmt: skip
    assert report.queries()[3]["query"] == "b.mp4" and len(report.queries()) == 4
    alone = RetrievalReport("8 frames", dual, None, ("a.mp4", "b.mp4"), ("one", "two"), ())
    assert alone.best is dual and alone.as_dict()["reranked"] is None and "rank_reranked" not in alone.queries()[0]
