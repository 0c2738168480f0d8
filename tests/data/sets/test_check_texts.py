"""What `videomamba data check` says about videos with texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.video.test_shards import write_tar
from videomamba.cli import main
from videomamba.data.sets.check import Report, Spread
from videomamba.data.sets.check_texts import check_texts
from videomamba.data.settings import TextDataSettings
from videomamba.schema import VideoMambaError
from videomamba.video.encode import write_video


@pytest.fixture
def root(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 24, 3), np.uint8)
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", noise, fps=5)
    (tmp_path / "empty.mp4").touch()
    return tmp_path


def kinds(report: Report) -> list[tuple[str, bool, str, str]]:
    return [(p.kind, p.serious, p.split, Path(p.path).name) for p in report.problems]


def test_sound(root: Path) -> None:
    (root / "train.json").write_text(
        json.dumps([{"video": f"{i}.mp4", "caption": ["a b", f"c {i} d"]} for i in range(2)])
    )
    (root / "test.json").write_text(json.dumps([{"video": "2.mp4", "caption": "one"}]))
    done: list[tuple[int, int]] = []
    settings = TextDataSettings(root=root, first_seconds=30)
    report = check_texts(settings, task="captions", decode=True, progress=lambda *counts: done.append(counts))
    train, test = report.splits
    assert (train.split, train.task, train.records, train.videos, train.texts) == ("train", "captions", 2, 2, 4)
    assert (train.words, test.words, train.frames) == (Spread(2, 2.5, 3), Spread(1, 1, 1), Spread(12, 12, 12))
    assert [(p.kind, p.reason.partition(";")[0]) for p in report.problems] == [
        ("text", "1 caption belongs to several videos")
    ]
    assert report.ok and done == [(i, 3) for i in range(1, 4)]
    with pytest.raises(VideoMambaError, match="workers: 0"):
        check_texts(settings, task="captions", workers=0)


def test_list_given_twice(root: Path) -> None:
    (root / "train.json").write_text(json.dumps([{"video": "0.mp4", "caption": "a"}]))
    report = check_texts(
        TextDataSettings(root=root, train=Path("train.json"), also=(Path("train.json"),)), task="captions"
    )
    assert kinds(report) == [("duplicate", False, "train", "0.mp4")]
    assert report.problems[0].reason.endswith("same text: train.json, entry 1, train.json, entry 1")


def test_faults(root: Path) -> None:
    entries = [
        *({"video": "0.mp4", "caption": "a"}, {"video": "0.mp4", "caption": "A."}, {"video": "0.mp4", "caption": "b"}),
        *({"video": "gone.mp4", "caption": "c"}, {"video": "empty.mp4", "caption": "d"}),
        *({"video": "1.mp4", "caption": ["!", "", "long " * 31]}, {"video": "2.mp4", "caption": "?"}),
    ]
    (root / "train.json").write_text(json.dumps(entries))
    (root / "test.json").write_text(json.dumps([{"video": "0.mp4", "caption": "e"}]))
    report = check_texts(TextDataSettings(root=root), task="captions")
    assert kinds(report) == [
        ("missing", True, "train", "gone.mp4"),
        ("unreadable", True, "train", "empty.mp4"),
        ("duplicate", False, "train", "0.mp4"),
        ("leak", True, "test", "0.mp4"),
        ("text", False, "train", "1.mp4"),
        ("text", False, "train", "1.mp4"),
        ("text", False, "train", ""),
        ("text", False, "train", "2.mp4"),
    ]
    reasons = [problem.reason for problem in report.problems]
    assert reasons[2] == "is listed twice with the same text: train.json, entry 1, train.json, entry 2"
    assert reasons[4:6] == [
        "the text '!' is lost by cleaning (train.json, entry 6)",
        "a text is empty (train.json, entry 6)",
    ]
    assert reasons[6].startswith("1 text has more than 30 words, the first in train.json, entry 6;")
    assert reasons[7] == "has only empty texts after cleaning (train.json, entry 7)"


def test_shards(root: Path) -> None:
    video = (root / "0.mp4").read_bytes()
    for name in ("a", "b"):
        write_tar(root / f"{name}.tar", {f"{name}.mp4": video, f"{name}.txt": b"x y", "no.txt": b"z"})
    whole = (root / "b.tar").read_bytes()
    (root / "b.tar").write_bytes(whole[: whole.index(b"no.txt") + 100])
    report = check_texts(TextDataSettings(root=root), task="captions")
    assert (report.splits[0].records, report.splits[0].videos) == (2, 2)
    assert kinds(report)[1:] == [("ignored", False, "train", "a.tar::no.txt"), ("unreadable", True, "train", "b.tar")]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", *arguments])
    return int(ended.value.code or 0)


def test_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train.json").write_text(json.dumps([{"video": "0.mp4", "caption": ["A b", "c"]}]))
    assert run(str(root)) == 0
    shown = capsys.readouterr()
    assert "texts" in shown.out and "words of a text" in shown.out and "nothing wrong" in shown.out
    assert run(str(root), "--captions", "paragraph", "--json") == 0
    split = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (split["task"], split["texts"], split["words"]["median"]) == ("captions", 1, 3)
    (root / "q.csv").write_text("video,question,answer\n1.mp4,How many?,2\ngone.mp4,q,a\n")
    assert run(str(root), "--texts", "questions", "--test", str(root / "q.csv"), "--json") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("problem") for line in lines] == [None, "missing"]
    assert run(str(root), "--format", "msrvtt") == 1
    assert "looked for msrvtt_ret_train9k.json" in capsys.readouterr().err
