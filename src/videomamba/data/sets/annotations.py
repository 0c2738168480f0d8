"""From a data set on disk to records: its format, its splits, its class names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from videomamba.data.clips.windows import Windows
from videomamba.data.loading.record_video import frame_names
from videomamba.data.sets.formats.breakfast_coin import find_breakfast, find_coin
from videomamba.data.sets.formats.classes import Classes, find_classes
from videomamba.data.sets.formats.entry import Entry, Selection, Source, Split
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
from videomamba.data.sets.formats.lists import find_list, find_lists, list_named
from videomamba.data.sets.formats.lvu import find_lvu
from videomamba.data.sets.formats.ssv2 import find_ssv2
from videomamba.data.sets.formats.table import SUFFIXES
from videomamba.data.sets.symmetry import LEFT_RIGHT, UNLABELLED, swapped_classes
from videomamba.data.settings import DataSettings, Format, TextFormat
from videomamba.schema import Symmetries, VideoError, VideoMambaError, VideoRecord, VideoSet
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
    settings: DataSettings,
    split: Selection,
    *,
    labels: Sequence[str] | None = None,
    annotated: bool = True,
    without_train: bool = False,
) -> VideoSet:
    """The records of one split, in the order of their list, or sorted by path; of "all", every video of the data set once.

    If a data set has no validation split, `val_fraction` of the training videos of each class are held out, at least one
    and not all: the first when the paths below the root are hashed with `split_seed` and sorted. So the split is the same
    in every run and changes little when videos are added. Without a test split, "test" is "val". Files and empty class
    folders that are ignored belong to the split whose folder has them; held-out videos have none of their own.

    The class names come from, in this order: `labels` or the file `settings.labels`, the data set, the sorted names in its
    training list; class_0 and so on if that list has only indices. `without_train` lets the other splits name the classes
    of a data set that has no training videos. Mirroring keeps or swaps classes according to their
    names; without names it is not allowed, except in known data sets.

    With `window` each video becomes its windows (policy "shorten" of `Windows.starts`); a video whose duration is in no
    list is opened. With on_error="skip" an unreadable video stays one record and is counted when it is decoded.

    With `annotated` off the set is "unlabelled": lists need no labels or targets, a folder needs no class folders (all
    videos below it count), and annotations are ignored. The splits stay the same.

    The existence of files is not checked: a missing file is found on decoding, or by `videomamba data check`.

    Raises VideoMambaError, one line that names file and line, for a missing root, an empty list, a line that does not fit,
    a label out of range, an unknown or repeated class.
    """
    _check(settings)
    source = _source(settings, annotated=annotated)
    entries = _entries(source, split, settings, annotated=annotated)
    classes = find_classes(source, entries, settings, labels, without_train=without_train) if annotated else None
    records = tuple(record for entry in entries for record in _records(entry, classes, settings))
    ignored = tuple(file for part, files in source.ignored.items() if split in (part, "all") for file in files())
    names = () if classes is None else classes.names
    return VideoSet(split, records, names, _symmetries(source, classes), ignored)


def own_splits(settings: DataSettings, *, annotated: bool = True) -> tuple[Split, ...]:
    """The splits that the data set itself has, such as ("train",) where videos must be held out for validation.

    Raises VideoMambaError as `read_dataset` does.
    """
    _check(settings)
    parts = _source(settings, annotated=annotated).parts
    return tuple(split for split in get_args(Split) if split in parts)


def same_videos(settings: DataSettings, one: Split, other: Split) -> bool:
    """Whether two splits are the same videos, such as "val" and "test" if the data set has only one of them."""
    return read_dataset(settings, one).records == read_dataset(settings, other).records


def _source(settings: DataSettings, *, annotated: bool) -> Source:
    name = _guess(settings, annotated=annotated) if settings.format == "auto" else settings.format
    if name in get_args(TextFormat):
        raise VideoMambaError(f"data.format {name}: has texts, not classes; use the `videomamba text` commands")
    return (_FORMATS if annotated else _WITHOUT_ANNOTATIONS)[name](settings)


def _guess(settings: DataSettings, *, annotated: bool) -> Format:
    if settings.train or settings.val or settings.test:
        return "list"
    root = settings.root
    if root is None:
        raise VideoMambaError(
            "data.root: no data set is given; give its folder as data.root or its lists as data.train"
        )
    the_root(settings)
    if synthetic_folders(root):
        return "synthetic"
    if find_lists(settings) or list_named(root, "annotations"):
        return "list"
    if not annotated or has_class_folders(root):
        return "folder"
    raise VideoMambaError(
        f"{root}: no data set found; looked for synthetic.json, for a list train{{{','.join(SUFFIXES)}}} and for a folder "
        "per class; for another layout give data.format or data.train, for videos without classes use "
        "`videomamba data check --unlabelled`"
    )


def _entries(source: Source, split: Selection, settings: DataSettings, *, annotated: bool) -> Sequence[Entry]:
    parts = source.parts
    if split == "all":
        everything = (entry for name in get_args(Split) if name in parts for entry in parts[name]())
        return list(dict.fromkeys(everything))  # one list may serve two splits
    if split == "test" and split not in parts:
        split = "val"
    if "train" not in parts and split not in parts:
        raise VideoMambaError(f"{settings.root or 'root'}: has no training videos; give their list as data.train")
    if split == "train" and "val" not in parts:
        return held_out(parts["train"](), settings, annotated=annotated)[0]
    return parts[split]() if split in parts else held_out(parts["train"](), settings, annotated=annotated)[1]


def _records(entry: Entry, classes: Classes | None, settings: DataSettings) -> Iterator[VideoRecord]:
    annotation = None if classes is None else classes.annotation(entry)
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
        raise VideoMambaError(f"{entry.origin or entry.path}: images have no times, so no windows; use video files")
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


def _symmetries(source: Source, classes: Classes | None) -> Symmetries:
    if classes is None:
        return UNLABELLED
    if source.symmetries is not None:
        return source.symmetries
    if classes.named or (classes.names and source.nameless_mirror):
        return Symmetries(mirror=swapped_classes(classes.names, LEFT_RIGHT))
    return Symmetries(mirror=() if source.nameless_mirror else None)


def _check(settings: DataSettings) -> None:
    given = next((name for name in ("train", "val", "test") if getattr(settings, name) is not None), None)
    if given and settings.format in ("folder", "synthetic"):
        raise VideoMambaError(f"data.{given}: format {settings.format} has no lists; omit it, or use format list")
    frame_names(settings.frame_name, 2)
