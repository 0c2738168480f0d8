"""Which videos of a data set a test measures, and whether the weights were trained on some of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from videomamba.data.sets.fingerprint import file_keys, training_files
from videomamba.data.sets.texts import read_texts
from videomamba.data.settings import TextDataSettings, TextTask
from videomamba.schema import VideoMambaError, VideoRecord, VideoSet, counted

Measured = Literal["auto", "all", "train", "val", "test"]
"""Which videos of a data set are measured; "auto": its test split, else all that the network was not trained on."""


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
    weights: Path, info: Mapping[str, object], data: TextDataSettings, split: Measured, *, task: TextTask
) -> tuple[VideoSet, str]:
    """The videos with texts to measure, and a line that says which they are. "auto" is the test split.

    Raises VideoMambaError as `read_texts` does, and where there are no videos.
    """
    # A video that cannot be read is a miss.
    lenient = data.model_copy(update={"on_error": "skip"})
    video_set = read_texts(lenient, "test" if split == "auto" else split, task=task)
    if not video_set.records:
        raise VideoMambaError(f"{video_set.name}: has no videos to measure; name another split or fix its list")
    number = counted(len({record.path for record in video_set.records}), "video")
    remark = training_remark(weights, trained_videos(info, video_set.records))
    return video_set, f"measuring {number} of {video_set.name}: {remark}"


def text_settings(data: TextDataSettings | str | Path) -> TextDataSettings:
    """The settings of a data set with texts, given as such, as its folder, or as its list."""
    if isinstance(data, TextDataSettings):
        return data
    path = Path(data)
    return TextDataSettings(root=path) if path.is_dir() or not path.exists() else TextDataSettings(test=path)
