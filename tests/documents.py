"""The pages that a user reads: their commands, their Python, their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
"""A new page below docs/ is covered without anyone remembering."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"^ *(?:\w+=\S+ )?(?:\.venv/bin/|torchrun .* -m )?(videomamba (?:[^`\n]*\\\n)*[^`\n]*)$", re.MULTILINE
)
_IN_TEXT = re.compile(r"`(?:\w+=\S+ )?(?:\.venv/bin/)?(videomamba\s[^`]+)`")
_SCRIPT = re.compile(r"\bpython ((?:benchmarks|examples)/\S+\.py|-m tests\.[\w.]+)([^`\n#]*)")


@dataclass(frozen=True)
class Found:
    """A piece of a page: `text`, and a `name` for the report of the tests, as "search-2"."""

    name: str
    text: str


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def command_lines(page: Path) -> list[Found]:
    """The lines of code blocks that begin with our command, without what a shell does around it: a redirection, a comment."""
    lines = [match[1].replace("\\\n", " ") for match in _COMMAND.finditer(page.read_text(encoding="utf-8"))]
    return [Found(f"{page.stem}-{i}", re.sub(r" > \S+", "", line)) for i, line in enumerate(lines)]


def commands_in_text(page: Path) -> list[Found]:
    """The commands between backticks in sentences, with a line break as a space."""
    prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [Found(f"{page.stem}-{i}", " ".join(match[1].split())) for i, match in enumerate(_IN_TEXT.finditer(prose))]


def python_blocks(page: Path) -> list[str]:
    """The Python of a page, each block behind as many empty lines as put it at its line numbers."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in _FENCED.finditer(text) if match[1] == "python"]
    return ["\n" * text.count("\n", 0, match.start(2)) + match[2] for match in found]


def scripts(page: Path) -> list[tuple[str, list[str]]]:
    """The scripts of the repository that a page runs, each a path or `-m MODULE`, with its options."""
    found = _SCRIPT.findall(page.read_text(encoding="utf-8"))
    return [(script, re.findall(r"(?<!\S)--[\w-]+", rest)) for script, rest in found]


def make_targets(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    written = "\n".join([*(match[2] for match in _FENCED.finditer(text)), *re.findall(r"`([^`\n]+)`", text)])
    calls = re.findall(r"(?:^|\s)make((?: [a-z-]+)+)", written)
    return {target for call in calls for target in call.split()}


def linked_files(page: Path) -> list[Path]:
    """The local files that a page links to."""
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    return [page.parent / link for link in links]
