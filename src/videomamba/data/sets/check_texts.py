"""Checks a data set of videos or images with texts as training would use it. The counterpart of `check` for classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from videomamba.data.sets.check import Problem, Report, Spread, of_leaks, of_videos, open_all, report_of
from videomamba.data.sets.formats.entry import Split
from videomamba.data.sets.texts import Loss, read_with_losses, text_splits
from videomamba.data.settings import TextDataSettings, TextTask
from videomamba.schema import Captions, Choices, Question, VideoMambaError, VideoRecord, VideoSet, counted
from videomamba.video.shards import SHARD_SUFFIX, in_shard

LONG = 30
"""Words: the released models read 32 tokens of a caption, at least one a word, with the two at its ends."""


def check_texts(
    settings: TextDataSettings,
    splits: Sequence[Split] | None = None,
    *,
    task: TextTask,
    decode: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read the splits (None: all that have a list) and open each video or image once, as `check_dataset` does.

    The report also has texts that are empty, are lost by cleaning, have more than LONG words, or belong to several videos;
    pairs that are listed twice; files of shards that are no pairs. A missing or unreadable video, a damaged shard, and a
    video that is in train and in another split are serious.

    Raises VideoMambaError for a list that cannot be read.
    """
    if workers < 1:
        raise VideoMambaError(f"workers: {workers} is too few; give at least 1")
    reading = settings.model_copy(update={"on_error": "skip", "first_seconds": None})
    read = [read_with_losses(reading, split, task=task) for split in splits or text_splits(settings, task)]
    sets = [video_set for video_set, _ in read]
    facts = open_all(sets, decode=decode, workers=workers, progress=progress)
    problems = [
        *(problem for s in sets for problem in of_videos(s, facts)),
        *(problem for s in sets for problem in _of_repeats(s)),
        *of_leaks(sets),
        *(problem for s, losses in read for problem in _of_losses(s, losses)),
        *(problem for s in sets for problem in _of_texts(s)),
        *(problem for s in sets for problem in _of_ignored(s)),
    ]
    reports = (replace(report_of(s, facts), texts=_count(s), words=Spread.of(_words(s))) for s in sets)
    return Report(tuple(reports), tuple(problems))


def _texts(record: VideoRecord) -> tuple[str, ...]:
    match record.annotation:
        case Captions(texts) | Choices(texts):
            return texts
        case Question(text):
            return (text,)
    return ()


def _count(videos: VideoSet) -> int:
    return sum(len(_texts(record)) for record in videos.records)


def _words(videos: VideoSet) -> Iterator[int]:
    return (len(text.split()) for record in videos.records for text in _texts(record))


def _of_repeats(videos: VideoSet) -> Iterator[Problem]:
    firsts: dict[object, str] = {}
    for record in videos.records:
        key = hash((os.path.normpath(record.path), record.span, record.annotation))
        if key in firsts:
            reason = f"is listed twice with the same text: {firsts[key]}, {record.origin}"
            yield Problem("duplicate", False, videos.name, record.path, reason)
        firsts.setdefault(key, record.origin)


def _of_losses(videos: VideoSet, losses: Sequence[Loss]) -> Iterator[Problem]:
    dropped = {file.path for file in videos.ignored}
    for loss in losses:
        if loss.path not in dropped:
            what = f"the text {loss.text[:40]!r} is lost by cleaning" if loss.text.strip() else "a text is empty"
            yield Problem("text", False, videos.name, loss.path, f"{what} ({loss.origin})")


def _of_texts(videos: VideoSet) -> Iterator[Problem]:
    long, example = 0, ""
    paths: dict[int, int] = {}
    shared: set[int] = set()
    for record in videos.records:
        for text in _texts(record):
            if len(text.split()) > LONG:
                long, example = long + 1, example or record.origin
        if isinstance(record.annotation, Captions):
            path = hash(os.path.normpath(record.path))
            for text in record.annotation.texts:
                if paths.setdefault(hash(text), path) != path:
                    shared.add(hash(text))
    if long:
        what = f"{counted(long, 'text has', 'texts have')} more than {LONG} words, the first in {example}"
        yield Problem(
            "text", False, videos.name, "", f"{what}; raise text.max_length above 32, or their ends are not read"
        )
    if shared:
        what = f"{counted(len(shared), 'caption belongs', 'captions belong')} to several videos"
        yield Problem("text", False, videos.name, "", f"{what}; a search for one of them has several right answers")


def _of_ignored(videos: VideoSet) -> Iterator[Problem]:
    for file in videos.ignored:
        if file.path.endswith(SHARD_SUFFIX):
            yield Problem("unreadable", True, videos.name, file.path, file.reason)
        else:
            yield Problem("ignored" if in_shard(file.path) else "text", False, videos.name, file.path, file.reason)
