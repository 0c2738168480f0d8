"""Which videos a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomamba.corpus.video_list import read_videos
from videomamba.schema import VideoMambaError


def test_lists_of_videos(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a, b.mp4\n\n sub/c d.mp4 \n/abs/e.mp4\n")
    found = read_videos([tmp_path / "list.txt"])
    assert found.names == ("a, b.mp4", "sub/c d.mp4", "/abs/e.mp4")
    assert found.paths == (tmp_path / "a, b.mp4", tmp_path / "sub/c d.mp4", Path("/abs/e.mp4"))
    (tmp_path / "list.csv").write_text('label,path\n1,"a, b.mp4"\n2,c.mp4\n')
    assert read_videos([tmp_path / "list.csv"]).names == ("a, b.mp4", "c.mp4")
    (tmp_path / "one.csv").write_text("path\na.mp4\nb c.mp4\n")
    assert read_videos([tmp_path / "one.csv"]).names == ("a.mp4", "b c.mp4")
    for name, text, message in (
        ("empty.txt", " \n", r"empty\.txt: holds no videos"),
        ("none.csv", "label,path\n1,\n", "line 2: has no path"),
        ("bare.csv", "1,a.mp4\n", "line 1: has 2 columns, expected path"),
        ("absent.csv", None, r"absent\.csv: cannot be read"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(VideoMambaError, match=message):
            read_videos([tmp_path / name])


def test_folders_and_files(tmp_path: Path) -> None:
    for name in ("b/10.mp4", "b/9.mp4", "a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "thumb.jpg").touch()
    found = read_videos([tmp_path])
    assert found.names == ("a.mp4", "b/9.mp4", "b/10.mp4")
    assert [file.path for file in found.ignored] == [str(tmp_path / "b" / "notes.txt")]
    files = [str(tmp_path / "b/10.mp4"), str(tmp_path / "a.mp4")]
    assert read_videos(files).names == tuple(files)
    assert read_videos(files[:1]).names == (files[0],)
    with pytest.raises(VideoMambaError, match="is a folder among others"):
        read_videos([tmp_path / "b", tmp_path / "a.mp4"])
    with pytest.raises(VideoMambaError, match="is a list among others"):
        read_videos([tmp_path / "a.mp4", tmp_path / "list.txt"])
