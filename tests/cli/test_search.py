"""`videomamba index` and `videomamba search`, as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.serving.search.made import write_folder, write_text_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos, and the weights to index them."""
    folder = tmp_path_factory.mktemp("search")
    write_folder(folder / "videos", 4)
    write_text_model(folder / "text.safetensors")
    return folder


@pytest.fixture
def index(made: Path, capsys: Capture) -> Path:
    out = made / "x.lance"
    if not out.exists():
        (made / "videos" / "notes.txt").touch()
        arguments = ("index", made / "videos", "--out", out, "--model", made / "text.safetensors")
        code, text, err = run(capsys, *arguments)
        assert code == 1 and "broken.mp4: not a readable video" in err and "ignored" in err and "notes.txt" in err
        assert text == f"{out}: 4 videos in 11 windows; 5 added, 0 changed, 0 gone, 0 unchanged, 1 failed\n"
        code, text, err = run(capsys, *arguments, "--json")
        assert code == 0 and "1 video could not be read before" in err
        assert json.loads(text) | {"out": ""} == {
            **{"out": "", "videos": 4, "windows": 11, "added": 0, "changed": 0},
            **{"gone": 0, "unchanged": 5, "failed": 0, "unreadable": 1},
        }
    return out


def test_a_table_lines_of_json_and_a_sheet(made: Path, index: Path, tmp_path: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "search", "a red square", "--index", index, "--top", 2)
    assert (code, err) == (0, "") and out.startswith(f"{(made / 'videos').resolve()}  (") and out.count(".mp4") == 2
    sheet = tmp_path / "best.png"
    code, out, err = run(capsys, "search", "a red square", "--index", index, "--top", 3, "--json", "--sheet", sheet)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(lines) == 3 and lines[0].keys() == {"path", "start", "end", "score"}
    assert sheet.is_file() and f"{sheet}: 3 moments" in err


def test_by_example_and_by_moment(made: Path, index: Path, capsys: Capture) -> None:
    file = made / "videos" / "even" / "clip2.mp4"
    code, out, _ = run(capsys, "search", "--video", file, "--index", index, "--top", 1, "--json")
    assert code == 0 and json.loads(out)["path"] == "even/clip2.mp4"
    code, out, _ = run(capsys, "search", "--like", "odd/clip3.mp4@0.5", "--index", index, "--path", "even/*", "--json")
    assert code == 0 and {json.loads(line)["path"] for line in out.splitlines()} == {"even/clip0.mp4", "even/clip2.mp4"}
    code, out, _ = run(capsys, "search", "a", "--index", index, "--path", "none*")
    assert code == 0 and "no video fits" in out


@pytest.mark.parametrize("queries", [(), ("a circle", "--like", "a.mp4@1"), ("--video", "a.mp4", "--like", "a.mp4@1")])
def test_exactly_one_query(index: Path, queries: tuple[str, ...], capsys: Capture) -> None:
    code, out, err = run(capsys, "search", *queries, "--index", index)
    assert (code, out) == (1, "") and err == (
        "videomamba: search: give one query: a sentence, --video FILE, or --like FILE@SECONDS\n"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("search", "a", "--index", "absent.lance"), "absent.lance: no such index; make one with `videomamba index"),
        (("search", "a", "--index", "absent.lance", "--sheet", "a.jpg"), "--sheet a.jpg: end its name in .png"),
        (("search", "a", "--index", ""), '"" names no file'),
        (("index", "absent", "--out", "x.lance"), "absent: no such file or folder"),
        (("index", "", "--out", "x.lance"), '"" names no file'),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], text: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1) and text in err


@pytest.mark.parametrize("command", [("index", "videos"), ("search", "a red square")])
def test_without_lancedb_it_says_what_to_install(
    command: tuple[str, str], made: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    for module in [name for name in sys.modules if name.startswith("videomamba.serving.search.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lancedb", None)
    code, out, err = run(capsys, *command, "--out" if command[0] == "index" else "--index", "new.lance")
    assert (code, out) == (1, "") and not (made / "new.lance").exists()
    assert err == "videomamba: an index of videos needs LanceDB; pip install 'videomamba[search]'\n"
