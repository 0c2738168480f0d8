"""Kinds of files whose times are unusual: clocks that restart, equal times, pauses, times that lie or are missing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tests.video.clips import RECIPES, Recipe
from tests.video.fields import write_fields
from tests.video.making import (
    Kind,
    Part,
    at_places,
    cat,
    clock_of,
    counted_off,
    film,
    flv_tags,
    joined,
    moved,
    repack,
)

_EVEN = [i / 25 for i in range(30)]
_PLAIN = RECIPES["h264.mp4"]._replace(bframes=0)
_MPEG2 = Recipe(".mp4", "mpeg2video", bframes=2)
_MPEG1 = Recipe(".mp4", "mpeg1video", bframes=2)

EARLIER = (Part(60), Part(0))
EQUAL = (Part(10), Part(10))
LATER = (Part(10), Part(15))
THREE = (Part(30), Part(0), Part(7))
RATES = (Part(10), Part(10, frames=24, rate=30))
OVERLAP = (Part(10), Part(10.4))


def _joint(codec: Recipe | str, parts: Sequence[Part], suffix: str, what: str, join=cat) -> Kind:
    """A joint may be off by two pictures: what lies between the recordings is nobody's knowledge."""
    return Kind(
        what,
        lambda folder: joined(folder, codec, parts, suffix=suffix, join=join),
        range(sum(part.frames for part in parts)),
        clock_of(parts),
        slack=0.085,
    )


def _joints() -> dict[str, Kind]:
    starts = {
        "earlier": (EARLIER, "the second clock begins earlier"),
        "equal": (EQUAL, "both clocks begin alike"),
        "overlapping": (OVERLAP, "the second clock begins within the first"),
        "later": (LATER, "the second clock begins later, as after a pause"),
        "three": (THREE, "three recordings"),
        "two rates": (RATES, "25, then 30 pictures a second"),
    }
    kinds = {}
    for start, (parts, what) in starts.items():
        kinds |= {
            f"flv {start}": _joint(_PLAIN, parts, ".flv", f"FLV, H.264, tags joined: {what}", flv_tags),
            f"flv b {start}": _joint("h264.mp4", parts, ".flv", f"FLV, B-frames, tags joined: {what}", flv_tags),
            f"ts b {start}": _joint("h264.mp4", parts, ".ts", f"transport streams with B-frames, joined: {what}"),
            f"mpg b {start}": _joint(_MPEG2, parts, ".mpg", f"MPEG program streams with B-frames, joined: {what}"),
        }
    return kinds | {
        # FFmpeg gives the last picture before the joint the time of the first one after it.
        **{name: kinds[name]._replace(seconds=None) for name in ("mpg b later", "mpg b three")},
        "ts earlier": _joint(
            _PLAIN, EARLIER, ".ts", "transport streams without B-frames: the second clock begins earlier"
        ),
        "ts equal": _joint(_PLAIN, EQUAL, ".ts", "transport streams without B-frames: both clocks begin alike"),
        "ts hevc earlier": _joint(
            "hevc.mp4", EARLIER, ".ts", "HEVC transport streams: the second clock begins earlier"
        ),
        "ts hevc equal": _joint("hevc.mp4", EQUAL, ".ts", "HEVC transport streams: both clocks begin alike"),
        "ts mpeg2 earlier": _joint(_MPEG2, EARLIER, ".ts", "MPEG-2 transport streams: the second clock begins earlier"),
        "ts mpeg2 two rates": _joint(_MPEG2, RATES, ".ts", "MPEG-2 transport streams: 25, then 30 pictures a second"),
        "mpg earlier": _joint(
            _MPEG2._replace(bframes=0),
            EARLIER,
            ".mpg",
            "program streams without B-frames: the second clock begins earlier",
        ),
        "mpg mpeg1 equal": _joint(_MPEG1, EQUAL, ".mpg", "MPEG-1 streams joined: both clocks begin alike"),
        "h264 joined": _joint("h264.mp4", EQUAL, ".h264", "raw H.264 of two recordings, which has no clock"),
        "m2v joined": _joint(_MPEG2, EQUAL, ".m2v", "raw MPEG-2 of two recordings, which has no clock"),
    }


def _copied(codec: str, suffix: str) -> Kind:
    return Kind(
        f"{codec} copied into {suffix}: both times of a packet with B-frames are its number in the file",
        lambda folder: repack(film(folder, codec), folder / f"copied{suffix}", counted_off),
    )


def _placed(
    codec: Recipe | str, suffix: str, what: str, seconds: Sequence[float], unit: Fraction | None = None, **options: str
) -> Kind:
    """The pictures at the given times. The slack is a tick of the coarsest container."""
    return Kind(
        what,
        lambda folder: repack(
            film(folder, codec, suffix=".ts" if suffix == ".avi" else ".mp4"),  # AVI wants H.264 with start codes
            folder / f"placed{suffix}",
            at_places(seconds),
            unit=unit,
            **options,
        ),
        seconds=[second - seconds[0] for second in seconds],
    )


def _with_equal(*ranks: int) -> list[float]:
    """Pictures `ranks` have the time of the picture after them."""
    return [(i + (i in ranks)) / 25 for i in range(30)]


_PAUSE = [i / 10 + 50 * (i >= 15) for i in range(30)]
_PAUSE_AND_EQUAL = [second + (i == 9) / 10 for i, second in enumerate(_PAUSE)]


def _equal_times() -> dict[str, Kind]:
    kinds = {}
    for suffix in (".mkv", ".mp4", ".nut", ".flv"):
        for codec, name in ((_PLAIN, "h264"), ("h264.mp4", "h264 b")):
            if suffix == ".flv" and name == "h264":
                continue
            kinds[f"equal {name}{suffix}"] = _placed(
                codec, suffix, f"{name}: pictures 14 and 15 have one time in {suffix}", _with_equal(14)
            )
    return kinds | {
        "equal first": _placed("h264.mp4", ".mkv", "the first two pictures have one time, B-frames", _with_equal(0)),
        "equal last": _placed("h264.mp4", ".mkv", "the last two pictures have one time, B-frames", _with_equal(28)),
        "equal first, no b": _placed(_PLAIN, ".mkv", "the first two pictures have one time", _with_equal(0)),
        "equal last, no b": _placed(_PLAIN, ".mp4", "the last two pictures have one time", _with_equal(28)),
        "equal often": _placed(
            "h264.mp4", ".mkv", "five pairs have one time each, B-frames", _with_equal(3, 9, 15, 20, 27)
        ),
        "equal often, no b": _placed(_PLAIN, ".mkv", "five pairs have one time each", _with_equal(3, 9, 15, 20, 27)),
        "equal hevc": _placed("hevc.mp4", ".mkv", "HEVC: two pairs have one time each", _with_equal(4, 17)),
        "equal mpeg4": _placed("mpeg4.mp4", ".mkv", "MPEG-4: two pairs have one time each", _with_equal(4, 17)),
        "equal vp9": _placed(
            Recipe(".mp4", "libvpx-vp9"), ".mkv", "VP9: two pairs have one time each", _with_equal(4, 17)
        ),
        "pause": _placed("h264.mp4", ".mkv", "a pause of 50 s", _PAUSE),
        "pause mp4": _placed("h264.mp4", ".mp4", "a pause of 50 s in MP4", _PAUSE),
        "pause and equal": _placed(
            "h264.mp4", ".mkv", "a pause of 50 s; pictures 9 and 10 have one time", _PAUSE_AND_EQUAL
        ),
        "pause and equal, no b": _placed(_PLAIN, ".mkv", "the same without B-frames", _PAUSE_AND_EQUAL),
    }


def _ticks() -> dict[str, Kind]:
    kinds = {}
    for rate in (600, 1000):
        for codec, name in ((_PLAIN, "h264"), ("h264.mp4", "h264 b"), ("mpeg4.mp4", "mpeg4 b")):
            kinds[f"avi {name} 1/{rate}"] = _placed(
                codec,
                ".avi",
                f"{name} in AVI, a header of {rate} pictures a second, empty packets",
                _EVEN,
                Fraction(1, rate),
            )
    return kinds


def _starting(seconds: float, suffix: str, codec: str = "h264.mp4", **options: str) -> Kind:
    when = f"{seconds:g} s" if seconds > 0 else f"{-seconds:g} s before zero"
    return Kind(
        f"{codec.split('.')[0]} whose times begin at {when} in {suffix}",
        lambda folder: repack(film(folder, codec), folder / f"starting{suffix}", moved(seconds), **options),
    )


_BELOW = {"avoid_negative_ts": "disabled"}
_WRAP = 2**33 / 90000  # seconds after which the clock of a transport stream begins again


def _edited(codec: str) -> Kind:
    return Kind(
        f"{codec.split('.')[0]}: an edit list leaves out the first 7 pictures",
        lambda folder: repack(film(folder, codec), folder / "edited.mp4", moved(-7 / 25)),
        range(7, 30),
        _EVEN[:23],
    )


def _raw(codec: str, suffix: str, **changes: object) -> Kind:
    return Kind(
        f"{codec.split('.')[0]} as a raw stream ({suffix})",
        lambda folder: repack(film(folder, RECIPES[codec], **changes), folder / f"raw{suffix}"),
    )


def _fields(suffix: str, *, together: range = range(0), alike: bool = False) -> Kind:
    first, last = together.start, together.stop
    packets = f"in one packet for pictures {first} to {last - 1}, else in two" if together else "in two packets"
    times = "both with one time" if alike else "each with its time"
    return Kind(
        f"interlaced H.264 in {suffix}: the two fields of a picture {packets}, {times}",
        lambda folder: write_fields(folder / f"fields{suffix}", together=together, alike=alike),
        range(20),
        _EVEN[:20],
    )


CLOCKS: dict[str, Kind] = {
    **_joints(),
    **{
        f"copied {codec.split('.')[0]}{suffix}": _copied(codec, suffix)
        for codec in ("h264.mp4", "mpeg4.mp4", "hevc.mp4")
        for suffix in (".mp4", ".mkv")
    },
    **_equal_times(),
    **_ticks(),
    **{f"late {suffix}": _starting(60, suffix) for suffix in (".mkv", ".mp4", ".flv", ".ts", ".nut")},
    "late hevc.mp4": _starting(60, ".mp4", "hevc.mp4"),
    "negative ts": _starting(-0.2, ".ts", **_BELOW),
    # FFmpeg takes them for missing, all but one, until the clock passes zero.
    "negative mkv": _starting(-0.2, ".mkv", **_BELOW)._replace(seconds=None),
    "negative flv": _starting(-0.2, ".flv", **_BELOW)._replace(slack=0.085),  # read as a clock that ends and restarts
    "negative mp4": _starting(-0.2, ".mp4", use_editlist="0", **_BELOW),
    "clock wraps": _starting(_WRAP - 2, ".ts"),
    **{f"edit list {codec.split('.')[0]}": _edited(codec) for codec in ("h264.mp4", "hevc.mp4", "mpeg4.mp4")},
    "uneven mp4": _placed("h264.mp4", ".mp4", "uneven times in MP4", [(i * i * 3 + i * 40) / 1000 for i in range(30)]),
    "uneven hevc": _placed("hevc.mp4", ".mkv", "uneven times, HEVC", [(i * i * 3 + i * 40) / 1000 for i in range(30)]),
    "raw hevc": _raw("hevc.mp4", ".hevc"),
    "raw m2v": _raw("mpeg2.ts", ".m2v"),
    "raw m1v": _raw("mpeg1.mpg", ".m1v"),
    "raw m4v": _raw("mpeg4.mp4", ".m4v"),
    "raw mjpeg": _raw("mjpeg.avi", ".mjpeg"),
    "raw obu": _raw("av1.mp4", ".obu"),
    "vp8.ivf": _raw("vp8.webm", ".ivf"),
    "vp9.ivf": _raw("vp9.webm", ".ivf"),
    "av1.ivf": _raw("av1.mp4", ".ivf"),
    **{f"fields {suffix}": _fields(suffix) for suffix in (".ts", ".mp4", ".mkv", ".avi", ".h264")},
    "fields in one packet.mp4": _fields(".mp4", together=range(20)),
    "fields in one packet.mkv": _fields(".mkv", together=range(20)),
    "fields later.mp4": _fields(".mp4", together=range(18)),
    "fields later.ts": _fields(".ts", together=range(18)),
    "fields at first.mkv": _fields(".mkv", together=range(7, 20)),
    "fields once.mkv": _fields(".mkv", together=range(1, 20)),
    "fields alike.mkv": _fields(".mkv", alike=True),
    "fields alike, later.mkv": _fields(".mkv", together=range(18), alike=True),
}
