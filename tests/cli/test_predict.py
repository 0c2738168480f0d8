"""`videomamba predict`: the table of many files, and annotated videos."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import run
from videomamba.video.open import open_video


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_file_with_errors(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [clips / "clip1.mp4", clips / "notes.mp4", tmp_path / 'absent, "1".mp4', clips / "clip0.mp4"]
    out = tmp_path / "out.csv"
    code, said, _ = run(capsys, "predict", *files, "--model", bundle, "--top", 2, "--csv", out, "--json")
    answers, found = [json.loads(line) for line in said.splitlines()], rows(out)
    assert code == 1 and [row["path"] for row in found] == [str(file) for file in files]
    assert list(found[0]) == ["path", "model", "label_1", "score_1", "label_2", "score_2", "error"]
    for row, answer in zip(found, answers, strict=True):
        assert row["error"] == answer.get("error", "")
        best = [(row[f"label_{place}"], row[f"score_{place}"]) for place in (1, 2) if row[f"label_{place}"]]
        assert best == [(p["label"], f"{p['score']:.6f}") for p in answer.get("predictions", [])]
        assert row["model"] == answer.get("model", "")


def test_names_and_a_top_beyond_the_classes(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.symlink_to(clips / "clip0.mp4")
    code, _, _ = run(capsys, "predict", path, "--model", bundle, "--top", 99, "--csv", tmp_path / "out.csv")
    (row,) = rows(tmp_path / "out.csv")
    assert code == 0 and row["path"].endswith("caf\\udce9.mp4") and len(row) == 2 + 2 * 16 + 1


def test_what_is_written_stays_after_an_interrupt(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("videomamba.cli.predict.print_prediction", interrupt)
    code, _, _ = run(capsys, "predict", clips, "--model", bundle, "--csv", tmp_path / "out.csv")
    assert code == 130 and [Path(row["path"]).name for row in rows(tmp_path / "out.csv")] == ["clip0.mp4"]


def test_a_table_that_cannot_be_written_is_one_line(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "absent" / "out.csv"
    code, said, err = run(capsys, "predict", clips, "--model", bundle, "--csv", out)
    assert (code, said) == (1, "") and err.startswith(
        f"videomamba: --csv {out}: the folder {out.parent} does not exist"
    )
    out.parent.mkdir()
    out.mkdir()
    code, said, err = run(capsys, "predict", clips, "--model", bundle, "--csv", out)
    assert (code, said) == (1, "") and err.startswith(f"videomamba: --csv {out}: cannot be written (Is a directory")


def test_annotated_videos(bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    code, _, err = run(capsys, "predict", clips, "--model", bundle, "--save-video", tmp_path / "new" / "copies")
    assert code == 1 and len(err.splitlines()) == 1 and "notes.mp4" in err
    copies = sorted((tmp_path / "new" / "copies").iterdir())
    assert [copy.name for copy in copies] == [f"clip{i}.labelled.mp4" for i in range(3)]
    one = tmp_path / "one.mkv"
    assert run(capsys, "predict", clips / "clip1.mp4", "--model", bundle, "--save-video", one)[0] == 0
    windows = ("--window", 0.8, "--stride", 0.4)
    shown = tmp_path / "timeline.mp4"
    assert run(capsys, "timeline", clips / "clip1.mp4", "--model", bundle, *windows, "--save-video", shown)[0] == 0
    for copy in (copies[1], one, shown):
        with open_video(copy) as video, open_video(clips / "clip1.mp4") as original:
            assert (video.info.num_frames, video.info.fps) == (original.info.num_frames, original.info.fps)
            difference = (video.frames([5]).data.float() - original.frames([5]).data.float()).abs()[0]
        assert difference[-20:].mean() < 12 < difference[:12, :40].mean()


def test_copies_that_do_not_fit_are_one_line(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    video, twin = clips / "clip0.mp4", tmp_path / "clip0.mkv"
    twin.write_bytes(video.read_bytes())
    for files, out, said in (
        ((video, twin), tmp_path / "out.mp4", "holds one video, here are 2; give a folder"),
        ((video, twin), tmp_path / "out", "clip0.mkv: its copy would replace that of"),
        ((twin,), twin, "is there already; remove it or give another name"),
        ((video,), tmp_path / "out.txt", "out.txt: cannot be written"),
    ):
        code, printed, err = run(capsys, "predict", *files, "--model", bundle, "--save-video", out)
        assert (code, printed) == (1, "") and said in err and len(err.splitlines()) == 1
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "videomamba.evaluation.lettering", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, printed, err = run(capsys, "predict", video, "--model", bundle, "--save-video", tmp_path / "out")
    assert (code, printed) == (1, "") and "pip install 'videomamba[plot]'" in err and len(err.splitlines()) == 1
