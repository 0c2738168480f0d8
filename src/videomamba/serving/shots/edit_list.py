"""Shots as an edit list, CMX 3600, that editing programs import. It needs OpenTimelineIO (extra `edit`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videomamba.schema import VideoMambaError
from videomamba.serving.shots.records import Shot
from videomamba.serving.shots.timecode import timecode_rate

try:
    from opentimelineio import adapters, schema
    from opentimelineio.opentime import RationalTime, TimeRange
except ModuleNotFoundError as error:
    raise VideoMambaError("an edit list needs OpenTimelineIO; pip install 'videomamba[edit]'") from error

_REEL = "AX"  # the usual name where a source is a file and no tape


def edit_list(path: str | Path, shots: Sequence[Shot], *, fps: float) -> str:
    """The EDL of the video at `path` of `fps` frames a second: an event for each of the `shots`, its motions as a comment.

    A fade is the cut in its middle: the pictures of the fade are in the video already. A single picture has no event. Raises
    VideoMambaError where the adapter for EDL is not installed.
    """
    if "cmx_3600" not in adapters.available_adapter_names():
        raise VideoMambaError("an edit list needs the adapter otio-cmx3600-adapter; pip install 'videomamba[edit]'")
    rate = timecode_rate(fps)

    def at(seconds: float) -> RationalTime:
        return RationalTime(round(seconds * rate), float(rate))

    name = " ".join(Path(path).name.encode("utf-8", "backslashreplace").decode().splitlines())  # an entry is one line
    timeline = schema.Timeline(Path(name).stem)
    track = schema.Track(kind=schema.TrackKind.Video)
    timeline.tracks.append(track)
    whole = TimeRange.range_from_start_end_time(at(0), at(shots[-1].end))
    for number, shot in enumerate(shots, 1):
        span = TimeRange.range_from_start_end_time(at(shot.start), at(shot.end))
        if span.duration.value <= 0:  # of a single picture, or between two transitions at one frame
            continue
        motions = ", ".join(dict.fromkeys(motion.label for motion in shot.motions))
        clip = schema.Clip(
            name=f"shot {number}",
            media_reference=schema.ExternalReference(target_url=name, available_range=whole),
            source_range=span,
        )
        clip.metadata["cmx_3600"] = {"reel": _REEL, "comments": [f"CAMERA: {motions}"]}
        track.append(clip)
    if not len(track):  # which the adapter cannot write
        return f"TITLE: {timeline.name}\n"
    return str(adapters.write_to_string(timeline, "cmx_3600", rate=float(rate)))
