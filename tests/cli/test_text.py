"""`videomamba text`: the group of commands."""

from __future__ import annotations

import pytest

from tests.cli.test_main import run
from videomamba.cli.text import COMMANDS


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        code, out, _ = run(capsys, "text", *arguments)
        assert code == 0 and out.startswith("usage: videomamba text COMMAND")
        assert all(f"  {name} " in out and one.summary in out for name, one in COMMANDS.items())


def test_an_unknown_command_of_the_group_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "text", "retreival")
    assert code == 2 and err == "videomamba: retreival: no such command; did you mean 'retrieval'?\n"
