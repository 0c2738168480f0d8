"""Moments of videos that answer a query: the nearest windows of an index, of which overlapping ones are merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from videomamba.serving.search.table import Hit, WindowTable

Merge = Literal["moments", "videos", "none"]

_DEEPER = 4  # times as many windows, where the first ones are too few after merging
_LEAST_WINDOWS = 50


@dataclass(frozen=True)
class Moment:
    """A part of a video that answers, from `start` to `end` in seconds. `score` is the cosine to the query, 1 the best.

    `path` is relative to the folder of the index, `duration` that of the video in seconds, `thumbnail` a small JPEG.
    """

    path: str
    start: float
    end: float
    score: float
    duration: float = field(default=0.0, repr=False)
    thumbnail: bytes = field(default=b"", repr=False)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: path, start, end, score."""
        times = {"start": round(self.start, 6), "end": round(self.end, 6)}
        return {"path": self.path, **times, "score": round(self.score, 6)}


@dataclass(frozen=True)
class Ask:
    """A question to `table`: the `top` moments of windows that fulfil the condition `where`."""

    table: WindowTable
    where: str | None
    top: int
    merge: Merge

    def __call__(self, queries: NDArray[np.float32], without: Moment | None = None) -> list[Moment]:
        """The moments nearest to one of the `queries` (q, d), best first, without those that overlap `without`."""
        limit = max(_DEEPER * self.top, _LEAST_WINDOWS)
        while True:
            found = [self.table.nearest(query, limit, where=self.where) for query in queries]
            # Below this score a window may be missing from the answer of one of the queries.
            least = max((hits[-1].score for hits in found if len(hits) == limit), default=-inf)
            best: dict[tuple[str, float], Hit] = {}
            for hit in (hit for hits in found for hit in hits if hit.score >= least):
                key = hit.path, hit.start
                best[key] = max(best.get(key, hit), hit, key=lambda hit: hit.score)
            ordered = sorted(best.values(), key=lambda hit: (-hit.score, hit.path, hit.start))
            kept = list(self._merged(ordered, without))
            if len(kept) >= self.top or least == -inf:
                return kept[: self.top]
            limit *= _DEEPER

    def _merged(self, hits: Sequence[Hit], without: Moment | None) -> Iterator[Moment]:
        taken: dict[str, list[tuple[float, float]]] = {}
        for hit in hits:
            others = taken.setdefault(hit.path, [])
            span = (hit.start, hit.end)
            if without is not None and hit.path == without.path and _overlap(span, (without.start, without.end)):
                continue
            if self.merge == "videos" and others:
                continue
            if self.merge == "moments" and any(_overlap(span, other) for other in others):
                continue
            others.append(span)
            yield Moment(*hit)


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """A picture lasts no time: its spans overlap if they are equal."""
    return one == other or min(one[1], other[1]) - max(one[0], other[0]) > 1e-6
