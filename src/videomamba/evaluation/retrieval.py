"""How well texts find their videos and videos their texts: ranks, and the results of a test.

Nothing here favours the right answer. A wrong candidate with an equal score is ahead of the right one, as is one whose score
is not a number. So a network that gives all pairs the same score finds nothing, and the order of a data set changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from videomamba.evaluation.results import confidence_interval
from videomamba.schema import counted

WITHIN = (1, 5, 10)
"""The k of R@k: the share of queries with a right answer among the first k."""


@dataclass(frozen=True)
class Pairs:
    """Which texts belong to which videos: `videos[i]` are the videos that text i describes, at least one."""

    videos: tuple[tuple[int, ...], ...]
    num_videos: int

    def __post_init__(self) -> None:
        for text, mine in enumerate(self.videos):
            if not mine or len(set(mine)) < len(mine) or not 0 <= min(mine) <= max(mine) < self.num_videos:
                raise ValueError(f"text {text}: videos {mine} must be different ones of 0..{self.num_videos - 1}")
        silent = self.num_videos - len({video for mine in self.videos for video in mine})
        if silent:
            raise ValueError(f"{counted(silent, 'video')} without a text")

    @cached_property
    def texts(self) -> tuple[tuple[int, ...], ...]:
        """The texts of each video, in ascending order."""
        found: list[list[int]] = [[] for _ in range(self.num_videos)]
        for text, mine in enumerate(self.videos):
            for video in mine:
                found[video].append(text)
        return tuple(map(tuple, found))


@dataclass(frozen=True, eq=False)
class Reranked:
    """The first `candidates` (q, k) int64 of each query by the dual encoder, and the score (q, k) of each pair.

    It is that of the match, or of match and similarity together; -inf for a candidate that could not be scored.
    """

    candidates: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Recall:
    """One direction. `ranks[i]` is the place, from 1, of the best right candidate of query i.

    `missed` are the queries that could not be answered, because their videos cannot be read: they count as wrong, and in
    median and mean with the last place.
    """

    ranks: tuple[int, ...]
    missed: frozenset[int] = frozenset()

    @property
    def queries(self) -> int:
        return len(self.ranks)

    def within(self, k: int) -> int:
        """The number of queries with a right answer among the first `k`."""
        return sum(rank <= k and query not in self.missed for query, rank in enumerate(self.ranks))

    @property
    def r1(self) -> float:
        """In [0, 1], as `r5` and `r10`."""
        return self.within(1) / self.queries

    @property
    def r5(self) -> float:
        return self.within(5) / self.queries

    @property
    def r10(self) -> float:
        return self.within(10) / self.queries

    @property
    def median(self) -> float:
        return float(np.median(self.ranks))

    @property
    def mean(self) -> float:
        return sum(self.ranks) / self.queries

    @property
    def r1_interval(self) -> tuple[float, float]:
        """Of the true R@1, with 95 % confidence (`confidence_interval`)."""
        return confidence_interval(self.within(1), self.queries)

    def as_dict(self) -> dict[str, object]:
        numbers = ("queries", "r1", "r5", "r10", "median", "mean", "r1_interval")
        return {**{name: getattr(self, name) for name in numbers}, "missed": len(self.missed)}

    def __str__(self) -> str:
        shares = " / ".join(f"{share:.1%}" for share in (self.r1, self.r5, self.r10))
        return f"R@1/5/10 {shares}, median rank {self.median:g}, mean {self.mean:.1f}, {self.queries} queries"

    def __repr__(self) -> str:
        return f"Recall({self})"


@dataclass(frozen=True)
class RetrievalResult:
    """Both directions: `t2v`, each text looks for its video; `v2t`, each video for its texts."""

    t2v: Recall
    v2t: Recall

    @property
    def mean_recall(self) -> float:
        """The mean of R@1, R@5 and R@10 of both directions, in [0, 1]: the figure that chooses the best weights."""
        return sum(share for one in (self.t2v, self.v2t) for share in (one.r1, one.r5, one.r10)) / 6

    def as_dict(self) -> dict[str, object]:
        directions = {"text_to_video": self.t2v.as_dict(), "video_to_text": self.v2t.as_dict()}
        return {**directions, "mean_recall": self.mean_recall}

    def __str__(self) -> str:
        return f"text to video {self.t2v}; video to text {self.v2t}"


def candidates(similarity: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The `k` candidates of highest similarity of each query, best first: (q, n) -> (q, min(k, n)).

    Equal ones in the order of the data set: which of them are among the first k does not depend on which is right.
    Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    found = np.empty((len(similarity), min(k, similarity.shape[1])), dtype=np.int64)
    for query, row in enumerate(similarity):  # a row at a time: the order of all rows is twice as large as they are
        found[query] = np.argsort(-row, kind="stable")[: found.shape[1]]
    return found


def ranks(
    similarity: NDArray[np.float32], right: Sequence[Sequence[int]], reranked: Reranked | None = None
) -> tuple[int, ...]:
    """The place, from 1, of the best right candidate of each query; `similarity` (q, n), `right` the right candidates.

    With `reranked`, its candidates come first, ordered by their scores there alone; the order of the others, behind them, is
    that of the similarity. The protocol of the original leaves that order open, and R@k up to the number of its candidates does
    not depend on it.
    """
    if len(similarity) != len(right):
        raise ValueError(f"similarity has {len(similarity)} rows for {len(right)} queries")
    places = []
    for query, (row, mine) in enumerate(zip(similarity, right, strict=True)):
        chosen = list(mine)
        if reranked is not None:
            first, scores = reranked.candidates[query], reranked.scores[query]
            ours = np.isin(first, chosen) & (scores != -np.inf)
            if ours.any():
                places.append(_place(scores, ours))
                continue
        ours = np.zeros(len(row), dtype=np.bool_)
        ours[chosen] = True
        places.append(_place(row, ours))
    return tuple(places)


def _place(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> int:
    """1 + the number of wrong candidates that are not below the best right one."""
    known = scores[right]
    best = np.max(known[~np.isnan(known)], initial=-np.inf)
    wrong = scores[~right]
    return 1 + int(np.count_nonzero(~(wrong < best)))  # not `wrong >= best`, in which NaN would be behind


def recalls(
    similarity: NDArray[np.float32],
    pairs: Pairs,
    *,
    missed: Sequence[int] = (),
    t2v: Reranked | None = None,
    v2t: Reranked | None = None,
) -> RetrievalResult:
    """Both directions from `similarity` (videos, texts), with other scores of the first candidates where they are given.

    `missed` are videos that could not be read; their rows are ignored. A text is missed if all of its videos are.
    Raises ValueError for another shape, and without texts.
    """
    shape = (pairs.num_videos, len(pairs.videos))
    if similarity.shape != shape or not shape[1]:
        raise ValueError(f"similarity must be {shape} with at least one text, got {similarity.shape}")
    absent = frozenset(missed)
    scores = similarity.copy()
    scores[sorted(absent)] = -np.inf
    lost = frozenset(text for text, mine in enumerate(pairs.videos) if absent.issuperset(mine))
    return RetrievalResult(
        t2v=Recall(ranks(np.ascontiguousarray(scores.T), pairs.videos, t2v), lost),
        v2t=Recall(ranks(scores, pairs.texts, v2t), absent),
    )


@dataclass(frozen=True, repr=False)
class RetrievalReport:
    """The result of a test: by the dual encoder alone, and with the first candidates in the order of their match, and in the
    order of `combined`, the sum of the log-odds of a match and the similarity over the temperature.

    `videos` are the names of the videos, `texts` the sentences, in the order of the queries. `failures` are (path, reason) of
    videos that could not be read.
    """

    protocol: str
    dual: RetrievalResult
    reranked: RetrievalResult | None
    videos: tuple[str, ...] = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    failures: tuple[tuple[str, str], ...]
    combined: RetrievalResult | None = None

    @property
    def best(self) -> RetrievalResult:
        """The re-ranked result where there is one: published numbers are of this kind."""
        return self.dual if self.reranked is None else self.reranked

    @property
    def rows(self) -> tuple[tuple[str, str, Recall], ...]:
        """(method, direction, recall) of all that was measured."""
        methods = {"dual encoder": self.dual, "re-ranked": self.reranked, "match and similarity": self.combined}
        return tuple(
            (method, direction, recall)
            for method, result in methods.items()
            if result is not None
            for direction, recall in (("text to video", result.t2v), ("video to text", result.v2t))
        )

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the numbers and the failures, without the ranks."""
        return {
            "protocol": self.protocol,
            "num_videos": len(self.videos),
            "num_texts": len(self.texts),
            "num_missed": len(self.failures),
            "dual": self.dual.as_dict(),
            "reranked": None if self.reranked is None else self.reranked.as_dict(),
            "combined": None if self.combined is None else self.combined.as_dict(),
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def queries(self) -> list[dict[str, object]]:
        """A record for each query of both directions: the query, and the rank of its best right answer in each method."""
        found: list[dict[str, object]] = []
        for name, direction, asked in (("t2v", "text to video", self.texts), ("v2t", "video to text", self.videos)):
            dual: Recall = getattr(self.dual, name)
            others: dict[str, Recall | None] = {
                "rank_reranked": getattr(self.reranked, name, None),
                "rank_combined": getattr(self.combined, name, None),
            }
            for i, query in enumerate(asked):
                record = {"direction": direction, "query": query, "missed": i in dual.missed, "rank": dual.ranks[i]}
                found.append(record | {key: other.ranks[i] for key, other in others.items() if other is not None})
        return found

    def __str__(self) -> str:
        lines = [f"{method}, {direction}: {recall}" for method, direction, recall in self.rows]
        if self.failures:
            lines.append(f"{counted(len(self.failures), 'video')} missed and counted as wrong")
        return "\n".join([*lines, f"[{self.protocol}]"])

    def __repr__(self) -> str:
        return f"RetrievalReport({self})"
