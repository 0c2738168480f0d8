"""`videomamba explain`: tables, JSON, files, and what a mistake costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import run


def test_a_table_and_two_files_for_each_video(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    files = (clips / "clip0.mp4", clips / "notes.mp4", clips / "clip1.mp4")
    code, out, err = run(capsys, "explain", *files, "--model", bundle, "--out", tmp_path / "out", "--no-comparison")
    assert code == 1 and "notes.mp4: " in err
    assert f"clip0.mp4  ({bundle}, attention): " in out and "relevance" in out and "insertion" not in out
    names = [f"clip{i}.explain.{ending}" for i in (0, 1) for ending in ("mp4", "png")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert all(str(tmp_path / "out" / name) in err for name in names)


def test_json_has_the_comparison(bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    options = ("--method", "gradient", "--target", "move_left", "--json")
    code, out, _ = run(capsys, "explain", clips / "clip2.mp4", "--model", bundle, "--out", tmp_path, *options)
    record = json.loads(out)
    assert code == 0 and (record["label"], record["method"]) == ("move_left", "gradient")
    assert set(record["comparison"]) == {"map", "random", "centre"} and len(record["frames"]) == 4


def test_a_mistake_is_one_line_before_anything_is_written(
    bundle: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "clip0.mkv").write_bytes((clips / "clip0.mp4").read_bytes())
    same = (clips / "clip0.mp4", tmp_path / "clip0.mkv")
    code, _, err = run(capsys, "explain", *same, "--model", bundle, "--out", tmp_path / "out")
    assert code == 1 and "its explanation would replace that of" in err and len(err.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.delitem(sys.modules, "videomamba.serving.explain.integrated", raising=False)
    code, _, err = run(
        capsys, "explain", same[0], "--model", bundle, "--method", "integrated", "--out", tmp_path / "out"
    )
    assert code == 1 and "pip install 'videomamba[explain]'" in err and len(err.splitlines()) == 1
    code, _, err = run(capsys, "explain", same[0], "--model", bundle, "--target", "fly", "--out", tmp_path / "new")
    assert code == 1 and "target 'fly': no class of the model" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
