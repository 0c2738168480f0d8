"""Which videos of a data set a test measures, and whether the weights were trained on some of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from videomamba.data.sets.fingerprint import file_keys, training_files
from videomamba.data.sets.texts import read_texts, text_splits
from videomamba.data.settings import TextDataSettings, TextTask
from videomamba.schema import VideoRecord, VideoSet, counted

Measured = Literal["auto", "all", "train", "val", "test"]
"""Which videos of a data set are measured; "auto": its test split, else all that the network was not trained on."""

MeasuredTexts = Literal["auto", "train", "val", "test"]
"""The same for videos with texts, of which none are held out; "auto": the list of test, else of validation, else the other."""

_NAMES = {"train": "training", "val": "validation", "test": "test"}


def trained_videos(info: Mapping[str, object], records: Iterable[VideoRecord]) -> frozenset[str] | None:
    """The paths of `records` that the `info` of a weights file names as its training videos; None where it names none."""
    known = training_files(info)
    return None if known is None else frozenset(path for path, key in file_keys(records).items() if key in known)


def training_remark(weights: Path, trained: Collection[str] | None) -> str:
    """The half of a line that says what `trained_videos` found."""
    if trained is None:
        return f"{weights} does not record its training videos, so some of these may be among them"
    if trained:
        return f"{len(trained)} of them were in the training of {weights}, so the accuracy is too high"
    return f"none of them is known to have been in the training of {weights}"


def choose_texts(
    weights: Path, info: Mapping[str, object], data: TextDataSettings, split: MeasuredTexts, *, task: TextTask
) -> tuple[VideoSet, str]:
    """The videos with texts to measure, and a line that says which they are and whether training saw them.

    Raises VideoMambaError as `read_texts` does.
    """
    own = text_splits(data, task)
    chosen = next(one for one in ("test", "val", "train") if one in own) if split == "auto" else split
    shown = chosen if chosen in own else "val" if chosen == "test" else "test"
    # A video that cannot be read is a miss.
    video_set = read_texts(data.model_copy(update={"on_error": "skip"}), chosen, task=task)
    number = counted(len({record.path for record in video_set.records}), "video")
    remark = training_remark(weights, trained_videos(info, video_set.records))
    return video_set, f"measuring the {_NAMES[shown]} split, {number}: {remark}"


def text_settings(data: TextDataSettings | str | Path) -> TextDataSettings:
    """The settings of a data set with texts, given as such, as its folder, or as its list."""
    if isinstance(data, TextDataSettings):
        return data
    path = Path(data)
    return TextDataSettings(root=path) if path.is_dir() or not path.exists() else TextDataSettings(test=path)
