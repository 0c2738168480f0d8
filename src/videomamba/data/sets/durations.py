"""The seconds of video that a clip of a data set covers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from videomamba.data.loading.record_video import open_record
from videomamba.schema import Preprocess, VideoError, VideoRecord
from videomamba.video.images import ImageVideo

_OPENED = 15  # records, spread over the data set: enough for a median


def usual_clip_seconds(preprocess: Preprocess, records: Sequence[VideoRecord]) -> float | None:
    """The median length of the records' videos or spans, in seconds, rounded to hundredths; for `Preprocess`.

    None if a clip covers only a part of its video (dense sampling), if no record has times (images), or if none of the
    tried videos can be opened.
    """
    if preprocess.sampling == "dense":
        return None
    step = max(len(records) / _OPENED, 1)
    chosen = [records[int(i * step)] for i in range(min(_OPENED, len(records)))]
    known = [seconds for seconds in map(_seconds, chosen) if seconds]
    return round(median(known), 2) if known else None


def _seconds(record: VideoRecord) -> float | None:
    if record.span is not None:
        return record.span[1] - record.span[0]
    try:
        with open_record(record, threads=1) as opened:
            return None if isinstance(opened.video, ImageVideo) else opened.video.info.duration
    except VideoError:
        return None
