"""From lists of videos or images with texts to records with captions, questions or choices.

`docs/video_text.md` shows an example of every format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from videomamba.data.sets.formats.entry import Split
from videomamba.data.sets.formats.lists import shown
from videomamba.data.sets.formats.table import read_text
from videomamba.data.sets.formats.text_entry import TextEntry
from videomamba.data.sets.formats.text_lists import grouped, read_entries, unit
from videomamba.data.sets.formats.text_shards import read_pairs
from videomamba.data.sets.formats.text_sources import TextList, locator, text_lists
from videomamba.data.sets.symmetry import LEFT_RIGHT
from videomamba.data.sets.text_records import TextColumns, TextKind, TextRecords
from videomamba.data.settings import TextDataSettings, TextTask
from videomamba.data.text.clean import clean_caption
from videomamba.schema import (
    Captions,
    Choices,
    IgnoredFile,
    Question,
    Symmetries,
    VideoError,
    VideoMambaError,
    VideoSet,
)
from videomamba.video.open import IMAGE_SUFFIXES

_KINDS: dict[TextTask, TextKind] = {"captions": Captions, "questions": Question, "choices": Choices}

_SIDES = re.compile(
    rf"\b(?:{'|'.join(sorted({word for pair in LEFT_RIGHT for word in pair}))}|(?:anti|counter)[\s-]?clockwise)\b",
    re.IGNORECASE,
)
"""Words that are wrong for a mirrored video."""


@dataclass(frozen=True)
class Loss:
    """A text of which cleaning left nothing, or that was empty: where it was written, the video, the text."""

    origin: str
    path: str
    text: str


@dataclass
class _Reading:
    """What is collected while lists are read."""

    columns: TextColumns
    ignored: list[IgnoredFile] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    sided: bool = False


def read_texts(settings: TextDataSettings, split: Split, *, task: TextTask) -> VideoSet:
    """The records of one split, in the order of its lists, with the annotations of `task`; texts are cleaned.

    Without a test list "test" is "val" and the other way round. No videos are held out: a set with a training list only
    has no "val". An entry with several videos (one caption, Something-Something style) is one record for each of them.
    Several captions of a video are one record, with `captions` "separate" a record each, and with "paragraph" joined by
    spaces to one text. A caption of
    which cleaning leaves nothing is dropped; a video without another one is in `VideoSet.ignored`, as are the files of
    shards that are no pairs. Answers are never cleaned.

    Mirroring is allowed (`augment.flip auto`) only if no text has "left", "right" or a word like them.

    The existence of files is not checked. With on_error="skip" a damaged shard gives the pairs before the damage and is in
    `ignored`.

    Raises VideoMambaError, one line that names file and line or entry, for a missing list, one that holds nothing, and an
    entry that does not fit.
    """
    return read_with_losses(settings, split, task=task)[0]


def read_with_losses(settings: TextDataSettings, split: Split, *, task: TextTask) -> tuple[VideoSet, tuple[Loss, ...]]:
    """As `read_texts`, with the texts that were dropped."""
    _check(settings)
    lists = text_lists(settings, task)
    chosen = split if split in lists or split == "train" else "val" if split == "test" else "test"
    if chosen not in lists:
        have = " and ".join(lists)
        raise VideoMambaError(f"data.{split}: there is no list of {task}, only for {have}; name one with data.{split}")
    reading = _Reading(TextColumns(_KINDS[task]))
    for one in lists[chosen]:
        before = len(reading.columns.path_ends)
        _read_list(one, settings, chosen, task, reading)
        if len(reading.columns.path_ends) == before:
            why = f" ({reading.ignored[-1]})" if reading.ignored else ""
            raise VideoMambaError(f"{one.file}: holds no {task}{why}; check the list")
    symmetries = Symmetries(mirror=None if reading.sided else ())
    video_set = VideoSet(split, TextRecords(reading.columns), (), symmetries, tuple(reading.ignored))
    return video_set, tuple(reading.losses)


def text_splits(settings: TextDataSettings, task: TextTask) -> tuple[Split, ...]:
    """The splits that the data set has lists for. Raises VideoMambaError as `read_texts` does."""
    _check(settings)
    lists = text_lists(settings, task)
    return tuple(split for split in get_args(Split) if split in lists)


def media_ids(video_set: VideoSet) -> NDArray[np.int64]:
    """A number for each record, (n,) int64: equal for records of one video or image, whatever list they come from.

    Numbers count from 0 in the order of the set. A file counts by its complete path, a.mp4 and ./a.mp4 are one.
    """
    records = video_set.records
    if isinstance(records, TextRecords):
        paths: Iterator[str] = (records.path(place) for place in range(len(records)))
    else:
        paths = (record.path for record in records)
    return _numbered((os.path.normpath(path) for path in paths), len(records))


def caption_ids(video_set: VideoSet) -> NDArray[np.int64]:
    """A number for each record, (n,) int64: equal for records with the same texts.

    For sets in which one caption has several videos: then each of them is right for it.
    """
    records = video_set.records
    if isinstance(records, TextRecords):
        return _numbered(("\n".join(records.texts(place)) for place in range(len(records))), len(records))
    return _numbered((repr(record.annotation) for record in records), len(records))


def _numbered(names: Iterator[str], count: int) -> NDArray[np.int64]:
    """Numbers from 0 in the order in which names come first. Digests of 8 bytes: the names themselves take gigabytes."""
    digests = np.empty(count, np.uint64)
    for place, name in enumerate(names):
        digests[place] = int.from_bytes(
            blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
        )
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts, kind="stable")] = np.arange(len(firsts))
    numbers: NDArray[np.int64] = ranks[inverse]
    return numbers


def _check(settings: TextDataSettings) -> None:
    if settings.format == "msvd" and settings.captions == "paragraph":
        raise VideoMambaError(
            "data.captions paragraph: the captions of MSVD describe the same video again and again, they are no paragraph; "
            "leave it at each"
        )
    if settings.window is not None:
        raise VideoMambaError("data.window: videos with texts are not cut into windows; leave it out")
    for key in ("labels", "task"):
        if (value := getattr(settings, key)) is not None:
            raise VideoMambaError(f"data.{key} {value}: videos with texts have no classes; leave it out")


def _read_list(one: TextList, settings: TextDataSettings, split: Split, task: TextTask, reading: _Reading) -> None:
    name = shown(one.file, settings.root)
    if one.is_shard:
        damaged = settings.on_error == "skip"
        entries = read_pairs(str(one.file), task, reading.ignored, damaged=damaged)
        try:
            for entry in entries:
                _take(entry, entry.media[0], f"{one.file}::", f"{name}, pair", settings, task, reading)
        except VideoError as error:
            if not damaged:
                raise
            reading.ignored.append(IgnoredFile(error.path, error.reason))
        return
    entries = read_entries(one.file, name, task, split if one.only is None else None)
    if one.only is not None:
        entries = _of(entries, _ids(one), shown(one.only, settings.root))
    if settings.format == "didemo" and task == "captions":
        entries = _grouped_if_single(entries)
    locate, base = locator(one, settings), f"{one.base}{os.sep}"
    where = f"{name}, {unit(one.file)}"
    for entry in entries:
        for media in entry.media:
            _take(entry, locate(media), base, where, settings, task, reading)


def _take(
    entry: TextEntry, path: str, base: str, where: str, settings: TextDataSettings, task: TextTask, reading: _Reading
) -> None:
    """Appends the record of `entry` and the video at `path`, or notes why there is none."""
    origin = f"{where} {entry.place}"
    written = (" ".join(entry.texts),) if task == "captions" and settings.captions == "paragraph" else entry.texts
    clean = clean_caption if settings.clean else str.strip
    if task == "questions":
        asked, kept = written[:1], (clean(written[0]), *(text.strip() for text in written[1:] if text.strip()))
    else:
        asked, kept = written, tuple(map(clean, written))
    reading.losses += [Loss(origin, path, raw) for raw, text in zip(asked, kept, strict=False) if not text]
    if task == "captions":
        kept = tuple(filter(None, kept))
    if not kept or (task == "questions" and not kept[0]):
        reading.ignored.append(IgnoredFile(path, f"has only empty texts after cleaning ({origin})"))
        return
    reading.sided = reading.sided or any(map(_SIDES.search, kept[: len(asked)]))
    span = entry.span
    if settings.first_seconds is not None and os.path.splitext(path)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122
        start, end = span or (0.0, settings.first_seconds)
        span = start, min(end, start + settings.first_seconds)
    separate = task == "captions" and settings.captions == "separate"
    for texts in ((text,) for text in kept) if separate else (kept,):
        reading.columns.add(path, texts, base=base, right=entry.right, span=span, list_name=where, entry=entry.place)


def _grouped_if_single(entries: Iterator[TextEntry]) -> Iterator[TextEntry]:
    """DiDeMo's own lists have an entry for each sentence, those of retrieval a list of sentences for each video."""
    first = next(entries, None)
    if first is None:
        return
    everything = _chained(first, entries)
    yield from everything if first.listed else grouped(everything)


def _chained(first: TextEntry, rest: Iterator[TextEntry]) -> Iterator[TextEntry]:
    yield first
    yield from rest


def _ids(one: TextList) -> frozenset[str]:
    assert one.only is not None
    lines = read_text(one.only).split("\n")
    names = [line.split(",")[0].split()[0] for line in lines if line.split(",")[0].strip()]
    return frozenset(os.path.splitext(name)[0] if name.lower().endswith((".mp4", ".avi")) else name for name in names)  # noqa: PTH122


def _of(entries: Iterator[TextEntry], ids: frozenset[str], name: str) -> Iterator[TextEntry]:
    found = set()
    for entry in entries:
        if entry.media[0] in ids:
            found.add(entry.media[0])
            yield entry
    if not found:
        raise VideoMambaError(f"{name}: none of its videos has captions; check that the two files belong together")
