"""Timelines on the command line: tables, JSON, pictures, and what is kept when something fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from videomamba import Predictor
from videomamba.cli.timeline import clip_seconds, timeline
from videomamba.schema import VideoError, VideoMambaError
from videomamba.synthetic.dataset import ACTIONS
from videomamba.weights.zoo import labels_of, zoo_entry, zoo_names

WINDOWS = {"window": 0.8, "stride": 0.4, "threshold": 0.2}


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.from_pretrained(bundle)


def test_a_table_for_each_film(predictor: Predictor, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert timeline(predictor, [clips / "clip0.mp4", clips / "clip1.mp4"], **WINDOWS) == 0
    shown = capsys.readouterr().out
    assert "clip0.mp4  (1.5 s; 3 windows of 0.8 s every 0.4 s)" in shown and "clip1.mp4" in shown
    assert shown.count("start") == 2 and "0:00.0" in shown and "0:01.5" in shown


def test_json_is_one_line_a_film(predictor: Predictor, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert timeline(predictor, [clips / "clip0.mp4"], json=True, **WINDOWS) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["path"], record["seconds"], record["fps"]) == (str(clips / "clip0.mp4"), 1.5, 8.0)
    assert (record["window"], record["stride"], record["threshold"]) == (0.8, 0.4, 0.2)
    assert [w["start"] for w in record["windows"]] == [0.0, 0.4, 0.7]
    assert [w["end"] for w in record["windows"]] == [0.8, 1.2, 1.5]
    for found in record["windows"]:
        scores = [entry["score"] for entry in found["top"]]
        assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert record["segments"] and set(record["segments"][0]) == {"label", "start", "end", "score", "peak"}


def test_a_folder_gets_a_record_and_a_picture_of_each(
    predictor: Predictor, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "out"
    assert timeline(predictor, [clips / "clip0.mp4", clips / "clip2.mp4"], out=out, json=True, **WINDOWS) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        f"clip{i}.timeline.{kind}" for i in (0, 2) for kind in ("json", "png")
    ]
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed[1] == json.loads((out / "clip2.timeline.json").read_text())
    assert (out / "clip0.timeline.png").read_bytes().startswith(b"\x89PNG")


def test_one_bad_film_does_not_stop_the_others(
    predictor: Predictor, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    files = [clips / "notes.mp4", VideoError("absent.mp4", "no such file"), clips / "clip0.mp4"]
    assert timeline(predictor, files, out=tmp_path, json=True, **WINDOWS) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"videomamba: {clips / 'notes.mp4'}: ")
    assert told.err.splitlines()[1:] == ["videomamba: absent.mp4: no such file"]
    records = [json.loads(line) for line in told.out.splitlines()]
    assert [record["path"] for record in records] == [str(clips / "notes.mp4"), "absent.mp4", str(clips / "clip0.mp4")]
    assert ["error" in record for record in records] == [True, True, False]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip0.timeline.json", "clip0.timeline.png"]


def test_without_matplotlib_the_records_are_still_written(
    predictor: Predictor,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "videomamba.evaluation.plot", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert timeline(predictor, [clips / "clip0.mp4", clips / "clip1.mp4"], out=tmp_path, **WINDOWS) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "pip install 'videomamba[plot]'" in told.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip0.timeline.json", "clip1.timeline.json"]


def test_a_film_without_segments_says_so(predictor: Predictor, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert timeline(predictor, [clips / "clip0.mp4"], window=0.8, threshold=1.0) == 0
    assert "no class reaches 1 anywhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0.0}, "--window 0: give seconds above 0"),
        ({"window": 2.0, "stride": 0.0}, "--stride 0: give seconds above 0"),
        ({"window": 2.0, "stride": 3.0}, "--stride 3: is longer than the window of 2 s"),
        ({"threshold": 0.0}, "--threshold 0: give a probability"),
        ({"threshold": 1.5}, "--threshold 1.5: give a probability"),
        ({"bridge": -1.0}, "--bridge -1: give seconds, 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_named(
    predictor: Predictor, clips: Path, options: dict[str, float], message: str
) -> None:
    with pytest.raises(VideoMambaError, match=message):
        timeline(predictor, [clips / "clip0.mp4"], **options)


def test_two_films_of_one_name_are_refused_before_any_work(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    other = tmp_path / "clip0.mkv"
    other.write_bytes((clips / "clip0.mp4").read_bytes())
    with pytest.raises(VideoMambaError, match=r"clip0\.mkv: its timeline would replace that of .*clip0\.mp4"):
        timeline(predictor, [clips / "clip0.mp4", other], out=tmp_path / "out", **WINDOWS)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(predictor: Predictor, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VideoMambaError, match="cannot be made a folder"):
        timeline(predictor, [clips / "clip0.mp4"], out=tmp_path / "file", **WINDOWS)


def test_the_window_follows_the_data_set_of_the_classes() -> None:
    assert clip_seconds(ACTIONS) == 2.0
    by_labels = {entry.labels: labels_of(entry) for entry in map(zoo_entry, zoo_names()) if entry.labels}
    assert clip_seconds(by_labels["kinetics400"]) == 10.0
    assert clip_seconds(by_labels["something_something_v2"]) == 4.0
    assert clip_seconds(["cat", "dog"]) == 10.0
