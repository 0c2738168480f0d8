"""Kinds of video files, each made on the spot, with what a plain decode of it must show.

`python -m tests.video.made` prints the table of docs/decoding_tests.md.
"""

from __future__ import annotations

from fractions import Fraction

from tests.video.clips import RECIPES
from tests.video.made_clocks import CLOCKS
from tests.video.made_found import FOUND
from tests.video.made_looks import LOOKS
from tests.video.making import Kind, film, repack


def _recipe(name: str) -> Kind:
    recipe = RECIPES[name]
    what = f"{name}: " if "." not in name else ""
    bframes = ", B-frames" if recipe.bframes else ""
    seconds = recipe.times or tuple(i * 40 for i in range(recipe.frames))
    return Kind(
        f"{what}{recipe.codec} in {recipe.suffix}, {recipe.pix_fmt}{bframes}",
        lambda folder: film(folder, name),
        range(recipe.frames),
        [time / 1000 for time in seconds],
    )


def _packed(name: str, suffix: str, description: str, unit: Fraction | None = None, **options: str) -> Kind:
    """A clip copied as it is into another container or with another layout."""
    return Kind(
        description,
        lambda folder: repack(film(folder, name), folder / f"packed{suffix}", unit=unit, **options),
    )


LAYOUTS = {
    "fragmented mp4": _packed(
        "h264.mp4", ".mp4", "MP4 in fragments, without an index", movflags="frag_keyframe+empty_moov"
    ),
    "index first mp4": _packed("h264.mp4", ".mp4", "MP4 with its index before the pictures", movflags="faststart"),
    "live mkv": _packed(
        "h264.mp4", ".mkv", "Matroska of unknown size, without an index, as streams are saved", live="1"
    ),
    "live webm": _packed("vp9.webm", ".webm", "WebM of unknown size, without an index", live="1"),
    "m2ts": _packed("h264.mp4", ".m2ts", "transport stream with packets of 192 bytes", mpegts_m2ts_mode="1"),
    "h264.mov": _packed("h264.mp4", ".mov", "H.264 with B-frames in QuickTime"),
    "h264.nut": _packed("h264.mp4", ".nut", "H.264 with B-frames in NUT"),
    "h264.3gp": _packed("h264.mp4", ".3gp", "H.264 with B-frames in 3GP"),
    "h264.mxf": _packed("mpeg2.ts", ".mxf", "MPEG-2 with B-frames in MXF"),
    "hevc.ts": _packed("hevc.mp4", ".ts", "HEVC with B-frames in a transport stream"),
    "hevc.flv": _packed("hevc.mp4", ".flv", "HEVC with B-frames in enhanced FLV"),
    "av1.webm": _packed("av1.mp4", ".webm", "AV1 in WebM"),
    "vp8.ogv": _packed("vp8.webm", ".ogv", "VP8 in Ogg")._replace(slack=0.045),  # hidden pictures take time in Ogg
}

KINDS: dict[str, Kind] = {**{name: _recipe(name) for name in RECIPES}, **LAYOUTS, **CLOCKS, **LOOKS, **FOUND}


def table() -> list[str]:
    """One line a kind, as in the documentation."""
    return [f"| {name} | {kind.description} |" for name, kind in KINDS.items()]


if __name__ == "__main__":
    print("\n".join(table()))
