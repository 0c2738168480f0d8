"""What the README tells a newcomer to type exists and works."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videomamba.cli import COMMANDS, main
from videomamba.cli.command import Command
from videomamba.weights.zoo import zoo_names

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMAND_LINES = [
    line.split("#")[0].strip()
    for kind, block in BLOCKS
    if kind == ""
    for line in block.splitlines()
    if "videomamba " in line
]
PAGES = ("README.md", "docs/video_text.md", "docs/search.md", "docs/camera_motion.md", "docs/export.md")
COMPLETE_LINES = [
    pytest.param(line.replace("\\\n", " "), id=f"{Path(page).stem}-{i}")
    for page in PAGES
    for i, line in enumerate(
        re.findall(
            r"^ *(?:\.venv/bin/|torchrun .* -m )?(videomamba (?:[^`\n]*\\\n)*[^`\n]*)$",
            (ROOT / page).read_text(),
            re.MULTILINE,
        )
    )
]


def test_the_commands_are_found() -> None:
    assert len([line for line in COMMAND_LINES if "predict" in line]) >= 3


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if line.startswith(".venv/bin/videomamba")])
def test_every_command_and_option_exists(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, command, *arguments = shlex.split(line)
    assert command in COMMANDS
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(argument in text for argument in arguments if argument.startswith("--"))
    names = [arguments[i + 1] for i, argument in enumerate(arguments) if argument == "--model"]
    assert all(name in zoo_names() or name.endswith((".pth", ".safetensors")) for name in names)


@pytest.mark.parametrize("line", COMPLETE_LINES)
def test_every_command_line_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, their values and the number of arguments; nothing is read or run."""
    _, name, *arguments = shlex.split(line, comments=True)
    given = [name, *arguments]
    command = COMMANDS[name]
    module = importlib.import_module(f"videomamba.cli.{command.module}")
    target = getattr(module, command.function)
    if isinstance(target, dict):
        inner = target[arguments[0]]
        if isinstance(inner, Command):
            command, module = inner, importlib.import_module(f"videomamba.cli.{inner.module}")
            target = getattr(module, inner.function)
        else:
            monkeypatch.setitem(target, arguments[0], _parsed_only(inner))
    if command.raw:
        given = [argument for argument in given if argument != "..."]
        given += [] if "--presets" in given else ["--print-config"]
    elif callable(target):
        monkeypatch.setattr(module, command.function, _parsed_only(target))
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 0


def _parsed_only(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def nothing(*arguments: object, **options: object) -> int:
        return 0

    return nothing


def test_every_command_of_the_text_exists() -> None:
    assert set(re.findall(r"`videomamba (\w+)`", README)) <= set(COMMANDS)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [README, (ROOT / "CONTRIBUTING.md").read_text()]
    named = {target for text in texts for target in re.findall(r"make ([a-z-]+)", text)}
    assert {"demo", "test", "setup"} <= named <= targets | {"it"}


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links and all((ROOT / link).is_file() for link in links)


def test_the_python_of_the_readme_runs(
    clips: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = next(block for kind, block in BLOCKS if kind == "python")
    code = code.replace("demo/clip.mp4", str(clips / "clip0.mp4"))
    exec(compile(code, "README.md", "exec"), {})
    assert "Prediction(" in capsys.readouterr().out


def test_the_python_of_the_page_on_networks_runs(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(re.finditer(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL))[1]
    monkeypatch.chdir(tmp_path)
    made: dict[str, torch.Tensor] = {}
    exec(compile(code.replace("clip.mp4", str(clips / "clip0.mp4")), "models.md", "exec"), made)
    assert (tmp_path / "mine.safetensors").is_file() and made["logits"].shape == (1, 4)
