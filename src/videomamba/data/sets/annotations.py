"""From a data set on disk to records: which format it is, which videos are whose, what their classes are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from videomamba.data.clips.windows import Windows
from videomamba.data.sets.formats.breakfast_coin import find_breakfast, find_coin
from videomamba.data.sets.formats.classes import Classes, find_classes
from videomamba.data.sets.formats.entry import Entry, Source, Split
from videomamba.data.sets.formats.folder import (
    find_folder,
    find_imagenet,
    find_synthetic,
    find_videos_of_folder,
    has_class_folders,
    synthetic_folders,
    the_root,
)
from videomamba.data.sets.formats.held_out import held_out
from videomamba.data.sets.formats.kinetics import find_kinetics
from videomamba.data.sets.formats.lists import default_lists, find_list
from videomamba.data.sets.formats.lvu import find_lvu
from videomamba.data.sets.formats.ssv2 import find_ssv2
from videomamba.data.sets.formats.table import SUFFIXES
from videomamba.data.sets.symmetry import mirrored_classes
from videomamba.data.settings import DataSettings, Format
from videomamba.schema import Annotation, Symmetries, VideoError, VideoMambaError, VideoRecord, VideoSet
from videomamba.video.open import IMAGE_SUFFIXES, open_video

_FORMATS: Mapping[Format, Callable[[DataSettings], Source]] = {
    "folder": find_folder,
    "list": find_list,
    "kinetics": find_kinetics,
    "ssv2": find_ssv2,
    "ssv2_frames": partial(find_ssv2, frames=True),
    "breakfast": find_breakfast,
    "coin": find_coin,
    "lvu": find_lvu,
    "imagenet": find_imagenet,
    "synthetic": find_synthetic,
}
_WITHOUT_ANNOTATIONS: Mapping[Format, Callable[[DataSettings], Source]] = {
    **_FORMATS,
    "folder": find_videos_of_folder,
    "list": partial(find_list, annotated=False),
}


def read_dataset(
    settings: DataSettings, split: Split, *, labels: Sequence[str] | None = None, annotated: bool = True
) -> VideoSet:
    """The records of one split, in the order of their list, or sorted by path.

    If a data set has no validation split, `val_fraction` of the training videos of each class are held out, at least one
    and not all: those whose path below the root, hashed with `split_seed`, comes first, so that the split is the same in
    every run and changes little when videos are added. Without a test split, "test" is "val".

    The class names are, in this order: those of `labels` or of the file `settings.labels`, those of the data set, the
    sorted names in its training list, and where that has indices only, class_0 and so on. Mirroring is known to keep or
    swap classes from these names, and not allowed where there are none, except in data sets that are known.

    With `window` each video becomes its windows (policy "shorten" of `Windows.starts`); a video whose duration no list gives
    is opened. With on_error="skip" one that does not open stays whole, to be counted where it is decoded.

    With `annotated` off the set is "unlabelled": lists need no labels or targets, a folder needs no folders of classes (all
    videos below it count), and what a data set says of its videos is ignored. The splits stay the same.

    Whether files exist is not checked: a missing one is found on decoding, or by `videomamba data check`.

    Raises VideoMambaError, one line that names file and line, for whatever is wrong: a missing root, an empty list, a line
    that does not fit, a label out of range, an unknown or repeated class.
    """
    _check(settings)
    source = _source(settings, annotated=annotated)
    entries = _entries(source, split, settings, annotated=annotated)
    if not annotated:
        found = tuple(record for entry in entries for record in _records(entry, None, settings))
        return VideoSet(split, found, symmetries=_symmetries_without_classes(source))
    classes = find_classes(source, entries, settings, labels)
    found = tuple(record for entry in entries for record in _records(entry, classes.annotation(entry), settings))
    return VideoSet(split, found, classes.names, _symmetries(source, classes))


def same_videos(settings: DataSettings, one: Split, other: Split) -> bool:
    """Whether two splits are the same videos, as "val" and "test" are where the data set has one of them only."""
    first, second = (read_dataset(settings, split) for split in (one, other))
    return first.records == second.records


def _source(settings: DataSettings, *, annotated: bool) -> Source:
    name = _guess(settings, annotated=annotated) if settings.format == "auto" else settings.format
    return (_FORMATS if annotated else _WITHOUT_ANNOTATIONS)[name](settings)


def _guess(settings: DataSettings, *, annotated: bool) -> Format:
    if settings.train or settings.val or settings.test:
        return "list"
    root = settings.root
    if root is None:
        raise VideoMambaError(
            "root: no data set is given; give its folder as data.root, or its lists as data.train and data.val"
        )
    the_root(settings)
    if synthetic_folders(root):
        return "synthetic"
    if default_lists(root) or any((root / f"annotations{suffix}").is_file() for suffix in SUFFIXES):
        return "list"
    if not annotated or has_class_folders(root):
        return "folder"
    raise VideoMambaError(
        f"{root}: no data set found; looked for synthetic.json, for a list train{{{','.join(SUFFIXES)}}} and for a folder "
        "per class; if its layout is another, give data.format or data.train"
    )


def _entries(source: Source, split: Split, settings: DataSettings, *, annotated: bool) -> Sequence[Entry]:
    parts = source.parts
    if split == "test" and split not in parts:
        split = "val"
    if "train" not in parts and split not in parts:
        raise VideoMambaError(f"{settings.root or 'root'}: has no training videos; give their list as data.train")
    if split == "train" and "val" not in parts:
        return held_out(parts["train"](), settings, annotated=annotated)[0]
    return parts[split]() if split in parts else held_out(parts["train"](), settings, annotated=annotated)[1]


def _records(entry: Entry, annotation: Annotation | None, settings: DataSettings) -> Iterator[VideoRecord]:
    for span in _spans(entry, settings):
        yield VideoRecord(
            path=entry.path,
            annotation=annotation,
            span=span,
            num_frames=entry.num_frames,
            frame_name=None if entry.num_frames is None else settings.frame_name,
            origin=entry.origin,
        )


def _spans(entry: Entry, settings: DataSettings) -> list[tuple[float, float] | None]:
    if settings.window is None:
        return [entry.span]
    path = Path(entry.path)
    if entry.num_frames is not None or path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir():
        raise VideoMambaError(f"{entry.origin or entry.path}: images have no times to cut windows by; use video files")
    first, last = entry.span or (0.0, entry.duration)
    if last is None:
        try:
            with open_video(entry.path, threads=1) as video:
                last = video.info.duration
        except VideoError:
            if settings.on_error == "stop":
                raise
            return [None]
        if last <= first:  # a single picture
            return [None]
    windows = Windows(settings.window, settings.stride).spans(last - first, "shorten")
    return [(first + start, first + end) for start, end in windows]


def _symmetries(source: Source, classes: Classes) -> Symmetries:
    if source.symmetries is not None:
        return source.symmetries
    if classes.named or (classes.names and source.nameless_mirror):
        return Symmetries(mirror=mirrored_classes(classes.names))
    return Symmetries(mirror=() if source.nameless_mirror else None)


def _symmetries_without_classes(source: Source) -> Symmetries:
    """No class can change, so that all are allowed, except where a data set is known not to be mirrored."""
    mirrored = source.symmetries is None or source.symmetries.mirror is not None
    return Symmetries(mirror=() if mirrored else None, upside_down=(), backwards=())


def _check(settings: DataSettings) -> None:
    given = next((name for name in ("train", "val", "test") if getattr(settings, name) is not None), None)
    if given and settings.format in ("folder", "synthetic"):
        raise VideoMambaError(
            f"--{given}: format {settings.format} has folders and no lists; leave it out, or give format list"
        )
    try:
        settings.frame_name.format(1)
        distinct = settings.frame_name.format(1) != settings.frame_name.format(2)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        distinct = False
    if not distinct:
        raise VideoMambaError(
            f"frame_name: {settings.frame_name!r} must hold one place for a number, for example img_{{:05}}.jpg"
        )
