"""The seconds of video that a clip of a data set covers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from videomamba.data.loading.record_video import open_record
from videomamba.schema import Preprocess, VideoError, VideoRecord
from videomamba.video.images import ImageVideo

_OPENED = 15  # records, spread over the data set: enough for a median


def usual_clip_seconds(preprocess: Preprocess, records: Sequence[VideoRecord]) -> float | None:
    """The median of the seconds that a clip of a record covers, rounded to hundredths; for `Preprocess.clip_seconds`.

    A clip covers its video or span; with dense sampling it is num_frames * sampling_rate frames, at most the video.
    None if no record has times (images), or if none of the tried videos can be opened.
    """
    step = max(len(records) / _OPENED, 1)
    chosen = [records[int(i * step)] for i in range(min(_OPENED, len(records)))]
    known = [seconds for record in chosen if (seconds := _covered(preprocess, record))]
    return round(median(known), 2) if known else None


def _covered(preprocess: Preprocess, record: VideoRecord) -> float | None:
    dense, span = preprocess.sampling == "dense", record.span
    if span is not None and not dense:
        return span[1] - span[0]
    try:
        with open_record(record, threads=1) as opened:
            info = opened.video.info
            if isinstance(opened.video, ImageVideo) or not info.fps:
                return None
            stretch = preprocess.num_frames * preprocess.sampling_rate / info.fps if dense else info.duration
            return min(stretch, info.duration if span is None else span[1] - span[0])
    except VideoError:
        return None
