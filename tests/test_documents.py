"""What the documents tell a user to type exists and works."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import videomamba
from tests.documents import (
    PAGES,
    ROOT,
    Found,
    command_lines,
    commands_in_text,
    linked_files,
    make_targets,
    page_name,
    python_blocks,
    scripts,
)
from videomamba.cli import COMMANDS, main
from videomamba.cli.command import Command
from videomamba.recipes.config import DistillConfig
from videomamba.recipes.pretrain_config import PretrainConfig
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.schema import Settings
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.weights.zoo import zoo_names

NOT_RUN = {
    ("docs/features.md", 1): "reads a shard that the block behind it writes",
    **{("docs/hugging_face.md", i): "tests/export/transformers/test_convert.py runs it" for i in range(5)},
    ("docs/search.md", 0): "needs an index with a video of some length: tests/serving/search makes these calls",
    ("docs/video_text.md", 1): "opens released weights, which are not here",
    ("docs/video_text.md", 2): "opens a trained network for questions, which is not here",
}
"""Blocks of Python, counted from 0 in their page, that are compiled and whose names are looked up, and why they are not run."""
STANDS_FOR = {"rtsp://camera/stream": "video.mp4", "demo/clip.mp4": "clip.mp4", '"videos/"': '"my_videos/"'}
PLACEHOLDERS = re.compile(r"\.\.\.|\bNAME\b")
"""A command in a sentence may leave something open."""

LINES = [pytest.param(line, id=line.name) for page in PAGES for line in command_lines(page)]
IN_TEXT = [
    pytest.param(line, id=line.name)
    for page in PAGES
    for line in commands_in_text(page)
    if "--" in line.text and not PLACEHOLDERS.search(line.text)
]


def test_the_commands_are_found() -> None:
    assert len(LINES) > 90 and len(IN_TEXT) >= 8
    assert len([line for line in command_lines(ROOT / "README.md") if "predict" in line.text]) >= 3


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader types: with the settings of a run that the pages name."""
    settings = tmp_path / "runs" / "finetune" / "my_videos" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("data: {root: my_videos}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", [*LINES, *IN_TEXT])
def test_every_command_line_is_understood(line: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, their values and the number of arguments; nothing is read or run."""
    _, name, *arguments = shlex.split(line.text, comments=True)
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
        given += [] if {"--presets", "--print-config"} & set(given) else ["--print-config"]
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


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_command_of_the_text_exists(page: Path) -> None:
    for line in commands_in_text(page):
        name, *arguments = line.text.split()[1:]
        assert name in COMMANDS or not name.isalpha(), line
        command = COMMANDS.get(name)
        if command is not None and arguments and re.fullmatch("[a-z-]+", arguments[0]):
            target = getattr(importlib.import_module(f"videomamba.cli.{command.module}"), command.function)
            assert not isinstance(target, dict) or arguments[0] in target, line


def test_every_model_of_the_readme_exists() -> None:
    words = [shlex.split(line.text, comments=True) for line in command_lines(ROOT / "README.md")]
    names = [line[i + 1] for line in words for i, word in enumerate(line) if word == "--model"]
    assert names and all(name in zoo_names() or name.endswith((".pth", ".safetensors")) for name in names)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_script_and_its_options_exist(page: Path) -> None:
    for script, options in scripts(page):
        module = script.removeprefix("-m ")
        path = ROOT / (script if module == script else module.replace(".", "/") + ".py")
        assert path.is_file(), script
        text = path.read_text(encoding="utf-8")
        siblings = [path.with_name(f"{name}.py") for name in re.findall(r"^from (\w+) import", text, re.MULTILINE)]
        text += "".join(sibling.read_text(encoding="utf-8") for sibling in siblings if sibling.is_file())
        assert not [option for option in options if f'"{option}"' not in text], script


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in make_targets(page)}
    assert {"demo", "test", "setup", "docs"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_linked_file_exists(page: Path) -> None:
    assert not [link for link in linked_files(page) if not link.exists()]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_shows_nothing_from_elsewhere(page: Path) -> None:
    """A reader without a connection sees all of it, and nobody learns that it is read. The theme would fetch mermaid."""
    from_elsewhere = r"!\[[^\]]*\]\(https?:|<(?:script|img|link)\b|^```mermaid"
    assert not re.findall(from_elsewhere, page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the Python of the pages names, small."""
    folder = tmp_path_factory.mktemp("stand_ins")
    clip = render_clip(3, 0, num_frames=32, height=64, width=80)
    for name in ("clip.mp4", "video.mp4", "talk.mp4", "my_videos/left/one.mp4", "my_videos/right/two.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, clip if name != "clip.mp4" else clip[:16], fps=16)
    return folder


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated"
)  # the decompositions of forward mode, when PyTorch loads them
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec")  # the exporter of PyTorch
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=page_name)
def test_the_python_of_a_page_runs(
    page: Path, stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block continues those before it. What stands below `if __name__ == "__main__"` trains: it is compiled only."""
    for file in stand_ins.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")  # a page sets it
    made: dict[str, object] = {"__name__": page.stem, "videomamba": videomamba}
    for number, code in enumerate(python_blocks(page)):
        for name, stand_in in STANDS_FOR.items():
            code = code.replace(name, stand_in)
        if (page_name(page), number) not in NOT_RUN:
            exec(compile(code, str(page), "exec"), made)
    printed = capsys.readouterr().out
    match page.stem:
        case "README":
            assert "Prediction(" in printed
        case "models":
            assert (tmp_path / "mine.safetensors").is_file()
            assert made["logits"].shape == (1, 4) and made["tangent"].shape == (1, 16)
        case "migration":
            assert printed.startswith("7033744\n") and "head" in printed
        case "quick_start":
            assert len(printed.splitlines()) >= 4
        case "features":
            assert (tmp_path / "features" / "manifest.json").is_file()
        case "video_text":
            assert made["match"].shape == (3,)
        case "long_videos":
            assert (tmp_path / "timelines" / "video.timeline.json").is_file()


@pytest.mark.parametrize(("name", "number"), NOT_RUN)
def test_the_names_in_python_that_is_not_run_exist(name: str, number: int) -> None:
    code = python_blocks(ROOT / name)[number]
    compile(code, name, "exec")
    for module, names in re.findall(r"^from (videomamba\S*) import (.+)$", code, re.MULTILINE):
        assert all(hasattr(importlib.import_module(module), each) for each in names.split(", "))


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^::: videomamba\.(\w+)$", text, re.MULTILINE))
    assert set(videomamba.__all__) - {"ops", "__version__"} <= listed
    operators = set(re.findall(r"^::: videomamba\.ops\.(\w+)$", text, re.MULTILINE))
    assert operators == set(videomamba.ops.__all__) - {"dispatch"}


def _keys(kind: type[Settings], prefix: str = "") -> set[str]:
    found = set()
    for name, field in kind.model_fields.items():
        nested = field.annotation if isinstance(field.annotation, type) else None
        inside = _keys(nested, f"{prefix}{name}.") if nested and issubclass(nested, Settings) else {prefix + name}
        found |= inside
    return found


def test_every_setting_of_the_page_on_migration_exists() -> None:
    kinds = (DistillConfig, PretrainConfig, VideoTextTrainConfig)
    known = {key for kind in kinds for key in _keys(kind)}
    text = (ROOT / "docs" / "migration.md").read_text()
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z]+\.[a-z-]+)", text)}
    sections = "|".join({key.split(".")[0] for key in known})
    keys = set(re.findall(rf"`((?:{sections})\.[a-z_]+)", text))
    assert len(options) > 50 and len(keys) > 20
    assert {option.replace(".no_", ".", 1) if option not in known else option for option in options} <= known
    assert keys - known == {"model.recompute_activations"}  # a method


def test_the_picture_of_the_page_on_the_scan_shows_what_it_says() -> None:
    from examples.scan import RESET, TOKENS, influence

    forward, backward = influence(reverse=False).numpy(), influence(reverse=True).numpy()
    assert not np.triu(forward, 1).any() and not np.tril(backward, -1).any()
    last = TOKENS - 1
    assert forward[last, RESET] > forward[last, last - 1]  # the token with the large step writes itself into the state
    assert forward[RESET + 1, RESET - 1] < 0.05 * forward[RESET - 1, RESET - 3]  # and hardly anything before it passes


@pytest.mark.parametrize("name", ["scan_influence.svg", "scan_orders.svg"])
def test_the_pictures_are_those_of_the_script(name: str, tmp_path: Path) -> None:
    from examples.scan import write_pictures

    written = {path.name: path for path in write_pictures(tmp_path)}
    text, kept = written[name].read_text(), (ROOT / "docs" / name).read_text()
    labels = re.compile(r"<text[^>]*>([^<]*)</text>")
    assert labels.findall(text) == labels.findall(kept) != []  # coordinates depend on the version of matplotlib
