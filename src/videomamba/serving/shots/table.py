"""Shots as a CSV table: one row a shot, with seconds and timecodes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from videomamba.serving.shots.records import Shot
from videomamba.serving.shots.timecode import timecode, timecode_rate

COLUMNS = ("shot", "start", "end", "start_timecode", "end_timecode", "motion", "motions")


def shot_table(shots: Sequence[Shot], *, fps: float) -> str:
    """The text of the table, for a video of `fps` frames a second.

    `motion` has the largest share of the shot; `motions` are all, in order: "pan_left 0.0-2.5; unsure 2.5-3.0". The end is the
    start of the next shot.
    """
    rate = timecode_rate(fps)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, shot in enumerate(shots, 1):
        times = [f"{seconds:.3f}" for seconds in (shot.start, shot.end)]
        codes = [timecode(seconds, rate) for seconds in (shot.start, shot.end)]
        motions = "; ".join(f"{span.label} {span.start:.1f}-{span.end:.1f}" for span in shot.motions)
        table.writerow([number, *times, *codes, shot.main_motion, motions])
    return text.getvalue()
