"""The published tests of retrieval, by name: how each data set is read, and what the authors report for it.

Source: the zero-shot configs of the released code and the table of its README. All use 8 frames and re-rank 128 candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from videomamba.data.settings import TextDataSettings, TextFormat
from videomamba.schema import VideoMambaError, nearest_name


class PublishedRecall(NamedTuple):
    """R@1, R@5 and R@10 in percent, re-ranked."""

    t2v: tuple[float, float, float]
    v2t: tuple[float, float, float]


@dataclass(frozen=True)
class Protocol:
    """A published test. `published` has the numbers of the released weights by the name of their corpus, "25M".

    `note` is what to know before a number is compared.
    """

    name: str
    max_length: int
    captions: Literal["each", "paragraph"]
    first_seconds: float | None
    published: Mapping[str, PublishedRecall]
    note: str = ""

    @property
    def format(self) -> TextFormat:
        return self.name  # type: ignore[return-value]  # the formats have the names of the data sets

    def settings(self, data: TextDataSettings) -> TextDataSettings:
        """`data` as this test reads it. Raises VideoMambaError for a setting that contradicts it."""
        wanted = {"format": self.format, "captions": self.captions, "first_seconds": self.first_seconds, "clean": True}
        for name, value in wanted.items():
            given = getattr(data, name)
            if given not in (value, TextDataSettings.model_fields[name].default):
                raise VideoMambaError(f"data.{name}: is {given}, and {value} in protocol {self.name}; omit one of them")
        return data.model_copy(update=wanted)

    def published_for(self, weights: str) -> Mapping[str, PublishedRecall]:
        """The published rows of the weights called `weights`, all rows for others."""
        of_name = {corpus: row for corpus, row in self.published.items() if f"_{corpus.lower()}_" in weights.lower()}
        return of_name or self.published


def protocol(name: str) -> Protocol:
    """The published test called `name`. Raises VideoMambaError with the nearest name."""
    if name not in PROTOCOLS:
        advice = nearest_name(name, PROTOCOLS, otherwise=f"known: {', '.join(PROTOCOLS)}")
        raise VideoMambaError(f"protocol {name}: unknown; {advice}")
    return PROTOCOLS[name]


_ALL = (
    Protocol(
        "msrvtt",
        32,
        "each",
        None,
        {
            "5M": PublishedRecall((32.0, 53.1, 63.6), (28.2, 47.6, 56.5)),
            "17M": PublishedRecall((34.7, 58.9, 68.0), (29.5, 49.9, 60.1)),
            "25M": PublishedRecall((35.6, 58.1, 69.5), (29.1, 51.6, 62.2)),
        },
        note="the 1000 videos of the split 1k-A, one caption each",
    ),
    Protocol(
        "didemo",
        64,
        "paragraph",
        30.0,
        {
            "5M": PublishedRecall((36.6, 61.7, 70.3), (38.3, 64.7, 73.3)),
            "17M": PublishedRecall((42.0, 67.3, 76.8), (42.3, 68.2, 76.9)),
            "25M": PublishedRecall((43.1, 68.1, 77.7), (43.8, 69.7, 77.8)),
        },
        note="the result depends on the version of the annotations; about 1003 videos",
    ),
    Protocol(
        "activitynet",
        150,
        "paragraph",
        None,
        {
            "5M": PublishedRecall((35.9, 61.1, 72.3), (32.8, 58.8, 69.9)),
            "17M": PublishedRecall((40.1, 65.7, 76.1), (34.2, 61.8, 73.2)),
            "25M": PublishedRecall((41.0, 67.5, 77.8), (37.1, 65.0, 75.1)),
        },
        note="the validation split val1, about 4917 videos",
    ),
    Protocol(
        "lsmdc",
        96,
        "each",
        None,
        {
            "5M": PublishedRecall((18.0, 36.1, 43.4), (15.9, 31.0, 39.2)),
            "17M": PublishedRecall((18.4, 35.3, 43.0), (16.5, 32.1, 40.0)),
            "25M": PublishedRecall((20.4, 37.1, 45.7), (17.9, 34.6, 42.1)),
        },
        note="1000 clips, one caption each",
    ),
    Protocol(
        "msvd",
        64,
        "each",
        None,
        {
            "5M": PublishedRecall((38.0, 68.6, 79.0), (57.5, 79.9, 85.4)),
            "17M": PublishedRecall((40.3, 70.0, 79.7), (61.8, 81.0, 87.0)),
            "25M": PublishedRecall((42.0, 71.6, 81.2), (62.7, 82.8, 87.6)),
        },
        note="670 videos with about 41 captions each: every caption is a query, and the best of them counts for its video",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {one.name: one for one in _ALL}
"""By name of the data set."""
