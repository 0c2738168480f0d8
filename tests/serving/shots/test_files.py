"""What is written about shots: timecodes, a table, an edit list that other programs read, a picture."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.serving.shots.films import Knows, film
from videomamba.schema import VideoMambaError
from videomamba.serving.annotated import captions_of
from videomamba.serving.shots.records import MotionSpan, Shot
from videomamba.serving.shots.table import shot_table
from videomamba.serving.shots.timecode import RATES, timecode, timecode_rate, varies
from videomamba.serving.timeline import timeline

NTSC = Fraction(30000, 1001)


def shots(*edges: float) -> list[Shot]:
    spans = pairwise(edges)
    return [Shot(start, end, (MotionSpan("pan_left", start, end, 0.9),)) for start, end in spans]


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        *((float(rate), rate) for rate in RATES),
        *(
            (29.97, NTSC),
            (23.98, Fraction(24000, 1001)),
            (15.0, Fraction(30)),
            (8.0, Fraction(24)),
            (12.5, Fraction(25)),
        ),
        *((14.985, NTSC), (27.3, Fraction(25)), (120.0, Fraction(60)), (0.0, Fraction(24000, 1001))),
    ],
)
def test_the_rate_of_timecodes(fps: float, rate: Fraction) -> None:
    assert timecode_rate(fps) == rate


@pytest.mark.parametrize(
    ("frame", "rate", "code"),
    [
        (0, Fraction(25), "00:00:00:00"),
        (90061 * 25 + 7, Fraction(25), "25:01:01:07"),
        (1800, Fraction(30), "00:01:00:00"),
        (1799, NTSC, "00:00:59;29"),
        (1800, NTSC, "00:01:00;02"),  # numbers 0 and 1 of this minute are left out
        (17982, NTSC, "00:10:00;00"),
        (107892, NTSC, "01:00:00;00"),
        (3600, Fraction(60000, 1001), "00:01:00;04"),
        (24 * 60, Fraction(24000, 1001), "00:01:00:00"),
    ],
)
def test_timecodes(frame: int, rate: Fraction, code: str) -> None:
    assert timecode(float(frame / rate), rate) == code


@pytest.mark.parametrize("rate", RATES)
def test_timecodes_are_those_of_opentimelineio(rate: Fraction) -> None:
    opentime = pytest.importorskip("opentimelineio").opentime
    for frame in (*range(0, 4000, 37), *range(17900, 18100, 7), 107891, 107892, 999999):
        expected = opentime.RationalTime(frame, float(rate)).to_timecode()
        assert timecode(float(frame / rate), rate) == expected


def test_frames_of_different_lengths() -> None:
    assert (
        not varies(np.arange(100) / 25) and not varies(np.round(np.arange(100) / 29.97, 3)) and not varies(np.zeros(1))
    )
    assert varies(np.concatenate([np.arange(50) / 25, 2 + np.arange(50) / 10]))


def test_the_table() -> None:
    shot = Shot(2.0, 5.0, (MotionSpan("unsure", 2.0, 3.0, 0.5), MotionSpan("zoom_in", 3.0, 5.0, 0.9)))
    rows = list(csv.DictReader(shot_table([*shots(0.0, 2.0), shot], fps=25).splitlines()))
    assert rows[1] == {
        **{"shot": "2", "start": "2.000", "end": "5.000"},
        **{"start_timecode": "00:00:02:00", "end_timecode": "00:00:05:00"},
        **{"motion": "zoom_in", "motions": "unsure 2.0-3.0; zoom_in 3.0-5.0"},
    }


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 30, 50, 59.94, 15, 8])
def test_an_edit_list_gives_the_same_shots_back(fps: float) -> None:
    otio = pytest.importorskip("opentimelineio")
    from videomamba.serving.shots.edit_list import edit_list

    rate = timecode_rate(fps)
    edges = [float(frame / rate) for frame in (0, 40, 1801, 18000, 110000)]
    text = edit_list("a folder/caf\udce9.mp4", shots(*edges), fps=fps)
    read = otio.adapters.read_from_string(text, "cmx_3600", rate=float(rate))
    clips = list(read.tracks[0])
    assert [clip.name for clip in clips] == ["shot 1", "shot 2", "shot 3", "shot 4"]
    for clip, start, end in zip(clips, edges, edges[1:], strict=False):
        span = clip.source_range
        assert (span.start_time.to_seconds(), span.end_time_exclusive().to_seconds()) == pytest.approx((start, end))
    assert text.count("CAMERA: pan_left") == 4


def test_an_edit_list_of_a_single_picture_has_no_event() -> None:
    pytest.importorskip("opentimelineio")
    from videomamba.serving.shots.edit_list import edit_list

    assert edit_list("a folder/picture.png", shots(0.0, 0.0), fps=0.0) == "TITLE: picture\n"


def test_a_line_break_in_a_name_breaks_no_line_of_an_edit_list() -> None:
    pytest.importorskip("opentimelineio")
    from videomamba.serving.shots.edit_list import edit_list

    lines = edit_list("one\nM2 AX.mp4", shots(0.0, 1.0), fps=25).splitlines()
    assert lines[0] == "TITLE: one M2 AX" and "* FROM CLIP: one M2 AX.mp4" in lines


def test_all_files_of_a_film(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    changes = [("cut", 2.0, 2.0), ("fade", 4.0, 4.8)]
    found = timeline(Knows(changes), film(tmp_path / "film.mp4", 7, changes))
    edits = importlib.util.find_spec("opentimelineio") is not None
    found.write(tmp_path / "out", edit_list=edits)
    names = {"film.timeline.json", "film.timeline.png", "film.shots.csv"} | ({"film.edl"} if edits else set())
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    record = json.loads((tmp_path / "out" / "film.timeline.json").read_text())
    assert record == found.as_dict() and record["unsure"] == 0.6 and record["variable_rate"] is False
    assert [t["kind"] for t in record["transitions"]] == ["cut", "fade"]
    assert set(record["transitions"][0]) == {"kind", "start", "end", "time", "score"}
    assert [len(shot["motions"]) for shot in record["shots"]] == [1, 1, 1]
    assert set(record["shots"][0]["motions"][0]) == {"label", "start", "end", "score"}
    assert "segments" in record and "windows" in record
    assert (tmp_path / "out" / "film.timeline.png").read_bytes().startswith(b"\x89PNG")
    inside = [[shot.start <= time < shot.end for shot in found.shots].index(True) for time, _ in found.thumbnails]
    assert set(inside) == {0, 1, 2}  # each shot has a picture
    assert captions_of(found)[0].text.startswith("static")


def test_without_opentimelineio_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "videomamba.serving.shots.edit_list", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentimelineio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(VideoMambaError, match=r"pip install 'videomamba\[edit\]'"):
        importlib.import_module("videomamba.serving.shots.edit_list")
