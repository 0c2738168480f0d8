"""`videomamba timeline`: tables, JSON, files, and what is kept when something fails."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.serving.shots.films import Knows, film
from videomamba.cli.model_options import ModelOptions
from videomamba.cli.timeline import timeline
from videomamba.serving.shots.motions import UNSURE_BELOW
from videomamba.serving.timeline import THRESHOLD

WINDOWS = ("--window", 0.8, "--stride", 0.4, "--threshold", 0.2)


def test_a_table_for_each_video(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (clips / "clip0.mp4", clips / "clip1.mp4")
    code, out, err = run(capsys, "timeline", *files, "--model", bundle, *WINDOWS)
    assert (code, err) == (0, "")
    assert f"clip0.mp4  ({bundle}, 1.5 s; 3 windows of 0.8 s every 0.4 s)" in out and "clip1.mp4" in out
    assert out.count("start") == 2 and "0:00.0" in out and "0:01.5" in out
    code, out, _ = run(capsys, "timeline", files[0], "--model", bundle, "--window", 0.8, "--threshold", 1)
    assert code == 0 and "no class reaches 1 anywhere" in out


def test_json_is_one_line_a_video(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "timeline", clips / "clip0.mp4", "--model", bundle, "--json", *WINDOWS)
    record = json.loads(out)
    assert code == 0
    assert (record["path"], record["seconds"], record["fps"]) == (str(clips / "clip0.mp4"), 1.5, 8.0)
    assert record["model"] == str(bundle)
    assert (record["window"], record["stride"], record["threshold"]) == (0.8, 0.4, 0.2)
    assert [w["start"] for w in record["windows"]] == [0.0, 0.4, 0.7]
    assert [w["end"] for w in record["windows"]] == [0.8, 1.2, 1.5]
    for found in record["windows"]:
        scores = [entry["score"] for entry in found["top"]]
        assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert record["segments"] and set(record["segments"][0]) == {"label", "start", "end", "score", "peak"}


def test_one_bad_video_does_not_stop_the_others(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    files, out = (clips / "notes.mp4", "absent.mp4", clips / "clip0.mp4", clips / "clip2.mp4"), tmp_path / "new" / "out"
    code, printed, err = run(capsys, "timeline", *files, "--model", bundle, "--out", out, "--json", *WINDOWS)
    assert code == 1
    assert err.startswith(f"videomamba: {clips / 'notes.mp4'}: ")
    assert err.splitlines()[1].startswith("videomamba: absent.mp4: no such file") and len(err.splitlines()) == 2
    records = [json.loads(line) for line in printed.splitlines()]
    assert [record["path"] for record in records] == [str(file) for file in files]
    assert ["error" in record for record in records] == [True, True, False, False]
    assert sorted(p.name for p in out.iterdir()) == [
        f"clip{i}.timeline.{kind}" for i in (0, 2) for kind in ("json", "png")
    ]
    assert records[3] == json.loads((out / "clip2.timeline.json").read_text())


def test_without_matplotlib_the_records_are_still_written(
    bundle: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "videomamba.evaluation.plot", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(capsys, "timeline", clips / "clip0.mp4", "--model", bundle, "--out", tmp_path, *WINDOWS)
    assert code == 1 and err.count("\n") == 1 and "pip install 'videomamba[plot]'" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip0.timeline.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", 0], "window 0: give a length in seconds"),
        (["--window", 2, "--stride", 3], "stride 3: longer than the window of 2 s"),
        (["--window", 2, "--threshold", 1.5], "threshold 1.5: give a probability"),
        (["--window", 2, "--bridge", -1], "bridge -1: give seconds, 0 or more"),
        ([], "window: the model does not say how many seconds"),
    ],
)
def test_a_bad_option_is_one_clear_line(
    bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str], options: list[object], message: str
) -> None:
    code, out, err = run(capsys, "timeline", clips / "clip0.mp4", "--model", bundle, *options)
    assert (code, out) == (1, "") and message in err and len(err.splitlines()) == 1


def test_a_folder_that_cannot_take_the_files(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip0.mkv").write_bytes((clips / "clip0.mp4").read_bytes())
    files = (clips / "clip0.mp4", tmp_path / "clip0.mkv")
    code, _, err = run(capsys, "timeline", *files, "--model", bundle, "--out", tmp_path / "out", *WINDOWS)
    assert code == 1 and "clip0.mkv: its timeline would replace that of" in err and not (tmp_path / "out").exists()
    code, _, err = run(capsys, "timeline", files[0], "--model", bundle, "--out", files[1], *WINDOWS)
    assert code == 1 and "clip0.mkv: cannot be created" in err and len(err.splitlines()) == 1


def test_the_defaults_are_those_of_python() -> None:
    parameters = inspect.signature(timeline).parameters
    assert parameters["threshold"].default == THRESHOLD and parameters["unsure"].default == UNSURE_BELOW


def test_a_model_of_camera_motion_lists_shots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [("cut", 2.0, 2.0), ("fade", 4.0, 4.8)]
    path = film(tmp_path / "film.mp4", 7, changes)
    monkeypatch.setattr(ModelOptions, "open", lambda self, silent: Knows(changes))
    monkeypatch.setitem(sys.modules, "opentimelineio", None)  # without it the rest is written, and the extra is named
    monkeypatch.delitem(sys.modules, "videomamba.serving.shots.edit_list", raising=False)
    code, out, err = run(capsys, "timeline", path, "--out", tmp_path / "out", "--unsure", 0.95)
    assert code == 0 and "pip install 'videomamba[edit]'; the shots are written as CSV only" in err
    assert [line.split()[:1] for line in out.splitlines() if "unsure" in line] == [["1"], ["2"], ["3"]]
    assert "cut" in out and "fade" in out and "0:02.0" in out
    assert (tmp_path / "out" / "film.shots.csv").is_file() and not (tmp_path / "out" / "film.edl").exists()
