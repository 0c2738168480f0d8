"""`videomamba export` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videomamba.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["export", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_the_files_are_printed_and_the_difference_is_told(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.pt2"
    assert run(bundle, out, "--format", "torch") == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "largest difference from PyTorch" in printed.err and "rendered clips" in printed.err
    assert run(bundle, out, "--format", "torch", "--json", "--overwrite") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [str(out)] and answer["error"] < 1e-4 and answer["same_class"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("net.pth",), "end its name in .onnx"),
        (("net.pt2", "--format", "torch", "--tolerance", "-1"), "--tolerance -1: give a number from 0 up"),
        (("net.pt2", "--format", "torch", "--weight-type", "int8"), "int8 weights are for ONNX"),
    ],
)
def test_mistakes(
    bundle: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = arguments
    assert run(bundle, tmp_path / name, *options) == 1
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert list(tmp_path.iterdir()) == []
