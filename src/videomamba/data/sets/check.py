"""Checks a data set as training would use it: opens every video once, counts classes, compares the splits."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Literal

from videomamba.data.loading.record_video import open_record
from videomamba.data.sets.annotations import own_splits, read_dataset
from videomamba.data.sets.formats.classes import numbered_class
from videomamba.data.sets.formats.entry import Split
from videomamba.data.sets.formats.held_out import HeldOutError
from videomamba.data.settings import DataSettings
from videomamba.schema import Task, VideoError, VideoMambaError, VideoRecord, VideoSet
from videomamba.video.images import ImageVideo
from videomamba.video.open import exists

Kind = Literal["missing", "unreadable", "span", "label", "leak", "duplicate", "class", "ignored"]

_DECODED = 8
_TOLERANCE = 1.0
"""Seconds by which an end in a list may be too late: most lists round durations."""


@dataclass(frozen=True)
class Problem:
    """`serious`: training or testing would fail or mislead. `path` is empty if the problem concerns several videos."""

    kind: Kind
    serious: bool
    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class Spread:
    lowest: float
    median: float
    highest: float

    @staticmethod
    def of(values: Iterable[float]) -> Spread | None:
        known = list(values)
        return Spread(min(known), float(median(known)), max(known)) if known else None


@dataclass(frozen=True)
class SplitReport:
    """One split: `classes` counts the records of each class, `targets` is the spread of the targets in regression.

    `seconds` covers the video files, `frames`, `width` and `height` all videos that could be opened.
    """

    split: str
    task: Task
    records: int
    videos: int
    classes: tuple[tuple[str, int], ...]
    targets: Spread | None
    seconds: Spread | None
    frames: Spread | None
    width: Spread | None
    height: Spread | None

    @property
    def empty(self) -> tuple[str, ...]:
        return tuple(name for name, count in self.classes if count == 0)


@dataclass(frozen=True)
class Report:
    splits: tuple[SplitReport, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not any(problem.serious for problem in self.problems)

    def as_dicts(self) -> Iterator[dict[str, object]]:
        """One record for each split, with its classes, then one for each problem."""
        for split in self.splits:
            yield asdict(split) | {"classes": dict(split.classes)}
        for problem in self.problems:
            yield {"problem": problem.kind} | {k: v for k, v in asdict(problem).items() if k != "kind"}


@dataclass(frozen=True)
class _Facts:
    """The facts of an opened video, or the reason why it could not be opened."""

    frames: int = 0
    seconds: float | None = None
    width: int = 0
    height: int = 0
    failure: tuple[Kind, str] | None = None


def check_dataset(
    settings: DataSettings,
    splits: Sequence[Split] | None = None,
    *,
    annotated: bool = True,
    decode: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read the splits and open each video: its frame table and the first picture, of listed frames also the last.

    `splits` None: all that the data set has, or that are held out of its training videos. Files in its folders that are
    ignored and class folders without videos are in the report too.

    With `decode`, 8 pictures spread over the video are decoded. `workers` threads share the work; `progress(done, total)`
    is called after each video. Nothing is changed or cached. Without `annotated`, labels are ignored.

    Raises VideoMambaError for a list that cannot be read; problems of single videos are in the report.
    """
    if workers < 1:
        raise VideoMambaError(f"workers: {workers} is too few; give at least 1")
    reading = settings.model_copy(update={"on_error": "skip"})  # reports unreadable videos together with all others
    sets, problems = _read(reading, splits, annotated=annotated)
    validated = next((s.records for s in sets if s.name == "val"), None)
    sets = [s for s in sets if s.name != "test" or s.records != validated]  # without "test", a data set tests on "val"
    videos = {_identity(record): record for s in sets for record in s.records}
    facts = _open_all(videos, decode=decode, workers=workers, progress=progress)
    problems += [
        *(problem for s in sets for problem in _of_videos(s, facts)),
        *(problem for s in sets for problem in _of_repeats(s)),
        *_of_leaks(sets),
        *(problem for s in sets for problem in _of_classes(s)),
        *(problem for s in sets for problem in _of_ignored(s)),
    ]
    return Report(tuple(_report(s, facts) for s in sets), tuple(problems))


def _read(
    settings: DataSettings, splits: Sequence[Split] | None, *, annotated: bool
) -> tuple[list[VideoSet], list[Problem]]:
    """The splits to check. Where no video can be held out, which is a problem, all videos are one set."""
    own = own_splits(settings, annotated=annotated) if splits is None else ()
    wanted = splits or (("train", "val", "test") if "train" in own else own)
    try:
        return [read_dataset(settings, split, annotated=annotated, without_train=True) for split in wanted], []
    except HeldOutError as error:
        if splits is not None:
            raise
        return [read_dataset(settings, "all", annotated=annotated)], [Problem("class", True, "all", "", str(error))]


_Identity = tuple[str, int | None]


def _identity(record: VideoRecord) -> _Identity:
    return os.path.normpath(record.path), record.num_frames


def _open_all(
    videos: Mapping[_Identity, VideoRecord], *, decode: bool, workers: int, progress: Callable[[int, int], None] | None
) -> dict[_Identity, _Facts]:
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_open, record, decode=decode): key for key, record in videos.items()}
        facts = {}
        for future in as_completed(futures):
            facts[futures[future]] = future.result()
            if progress is not None:
                progress(len(facts), len(videos))
        return facts
    finally:
        pool.shutdown(cancel_futures=True)


def _open(record: VideoRecord, *, decode: bool) -> _Facts:
    try:
        with open_record(replace(record, span=None), threads=1) as opened:
            last = opened.num_frames - 1
            if decode:
                wanted = sorted({round(i * last / (_DECODED - 1)) for i in range(_DECODED)})
            else:
                wanted = [0] if record.num_frames is None else sorted({0, last})
            opened.frames(wanted)
            info = opened.video.info
            seconds = None if isinstance(opened.video, ImageVideo) else info.duration
            return _Facts(info.num_frames, seconds, info.width, info.height)
    except VideoError as error:
        kind: Kind = "unreadable" if exists(error.path) else "missing"
        reason = error.reason if error.path == record.path else str(error)
        return _Facts(failure=(kind, reason))


def _of_videos(videos: VideoSet, facts: Mapping[_Identity, _Facts]) -> Iterator[Problem]:
    """Each video once, not each of its windows."""
    reported: set[tuple[str, Kind]] = set()
    for record in videos.records:
        fact = facts[_identity(record)]
        found = (*fact.failure, True) if fact.failure else _of_span(record, fact)
        if found is not None and (record.path, found[0]) not in reported:
            kind, reason, serious = found
            reported.add((record.path, kind))
            where = f" ({record.origin})" if record.origin else ""
            yield Problem(kind, serious, videos.name, record.path, f"{reason}{where}")


def _of_span(record: VideoRecord, fact: _Facts) -> tuple[Kind, str, bool] | None:
    if record.span is None:
        return None
    start, end = record.span
    if fact.seconds is None:
        return "span", "is not a video file, so it cannot have a span in seconds", True
    if start >= fact.seconds:
        return "span", f"{start:g} to {end:g} s is outside the video, which lasts {fact.seconds:.2f} s", True
    if end > fact.seconds + _TOLERANCE:
        return "span", f"{start:g} to {end:g} s goes beyond the video, which lasts {fact.seconds:.2f} s", False
    return None


def _of_repeats(videos: VideoSet) -> Iterator[Problem]:
    groups: dict[tuple[_Identity, object], list[VideoRecord]] = defaultdict(list)
    for record in videos.records:
        groups[_identity(record), record.span].append(record)
    for first, *others in groups.values():
        if others:
            differ = any(record.annotation != first.annotation for record in others)
            how = "with different annotations" if differ else f"{len(others) + 1} times"
            places = ", ".join(record.origin or record.path for record in (first, *others))
            kind: Kind = "label" if differ else "duplicate"
            yield Problem(kind, differ, videos.name, first.path, f"is listed {how}: {places}")


def _of_leaks(sets: Sequence[VideoSet]) -> Iterator[Problem]:
    trained = {_identity(record)[0] for videos in sets if videos.name == "train" for record in videos.records}
    for videos in sets:
        if videos.name != "train":
            for path in dict.fromkeys(r.path for r in videos.records if _identity(r)[0] in trained):
                yield Problem("leak", True, videos.name, path, f"is in train and in {videos.name}")


def _of_classes(videos: VideoSet) -> Iterator[Problem]:
    if videos.task != "classification":
        return
    counts = _counts(videos)
    empty = [name for name, count in counts if count == 0]
    if videos.name == "train" and empty == [counts[0][0]] == [numbered_class(0)]:
        reason = "class 0 has no videos: do the labels count from 1? number the classes from 0"
        yield Problem("class", False, videos.name, "", reason)
    elif empty:
        some = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        yield Problem("class", False, videos.name, "", f"{len(empty)} of {len(counts)} classes have no videos: {some}")
    alike: dict[str, str] = {}
    for name, _ in counts if videos.name == "train" else ():
        other = alike.setdefault(re.sub(r"[\W_]+", "", name.casefold()) or name, name)
        if other != name:
            yield Problem("class", False, videos.name, "", f"{other!r} and {name!r} are two classes; is one misspelt?")


def _of_ignored(videos: VideoSet) -> Iterator[Problem]:
    for file in videos.ignored:
        kind: Kind = "class" if file.empty_class else "ignored"
        # Training refuses a class folder without videos.
        yield Problem(kind, file.empty_class and videos.name in ("train", "all"), videos.name, file.path, file.reason)


def _counts(videos: VideoSet) -> list[tuple[str, int]]:
    counts = Counter(record.label for record in videos.records)
    return [(name, counts[index]) for index, name in enumerate(videos.labels)]


def _report(videos: VideoSet, facts: Mapping[_Identity, _Facts]) -> SplitReport:
    known = {key: facts[key] for key in map(_identity, videos.records)}
    opened = [fact for fact in known.values() if fact.failure is None]
    return SplitReport(
        split=videos.name,
        task=videos.task,
        records=len(videos),
        videos=len(known),
        classes=tuple(_counts(videos)),
        targets=Spread.of(record.target for record in videos.records if record.target is not None),
        seconds=Spread.of(fact.seconds for fact in opened if fact.seconds is not None),
        frames=Spread.of(fact.frames for fact in opened),
        width=Spread.of(fact.width for fact in opened),
        height=Spread.of(fact.height for fact in opened),
    )
