"""What no linter sees: a test that nobody runs, a package imported in two places, two files with almost the same name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TESTS = ROOT / "src" / "videomamba", ROOT / "tests"


def parsed(folder: Path, word: str = "") -> dict[Path, ast.Module]:
    """The modules below `folder` in whose text `word` occurs."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    return {path: ast.parse(text) for path, text in texts.items() if word in text}


def never_collected(file: str, module: ast.Module, imported: Collection[str] = ()) -> Iterator[str]:
    """The functions of a module below tests/ that were meant as tests and that pytest passes over.

    Those are `test_` functions in a file or class that pytest does not look into; and, where it does, functions that assert
    something, but are neither called test_, nor fixtures, nor used: named in their module outside of themselves, or imported
    by another one. A method counts as used through `self`, `cls` or its class only, because its bare name may be that of the
    function which it tests.
    """
    nodes = list(ast.walk(module))
    names = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    attributes = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    for owner in (module, *(node for node in module.body if isinstance(node, ast.ClassDef))):
        of_class = owner.name if isinstance(owner, ast.ClassDef) else None
        collected = file.startswith("test_") and (of_class is None or of_class.startswith("Test"))
        for function in owner.body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if of_class is None:
                inside = sum(isinstance(n, ast.Name) and n.id == function.name for n in ast.walk(function))
                used = function.name in imported or names[function.name] > inside
            else:
                used = any((value, function.name) in attributes for value in ("self", "cls", of_class))
            if function.name.startswith("test_"):
                passed_over = not collected
            else:
                passed_over = collected and not used and not _is_fixture(function) and _asserts(function)
            if passed_over:
                yield f"{file}, line {function.lineno}: {function.name}"


def _asserts(function: ast.AST) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    names = {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls}
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or any(
        name in ("raises", "warns") or name.startswith("assert_") for name in names
    )


def _is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_every_test_is_collected() -> None:
    modules = parsed(TESTS)
    imports = (node for module in modules.values() for node in ast.walk(module) if isinstance(node, ast.ImportFrom))
    imported = {alias.name for node in imports for alias in node.names}
    lost = [fault for path, module in modules.items() for fault in never_collected(path.name, module, imported)]
    assert not lost, f"call them test_..., call them from a test, or delete them: {lost}"


@pytest.mark.parametrize(
    ("file", "text", "lost"),
    [
        (
            "test_a.py",
            "from x import clips\nclips()\nclass TestA:\n    def clips(self): assert clips() == 3",
            ["clips"],
        ),
        ("test_a.py", "def short(tmp_path):\n    with pytest.raises(ValueError): short(0)", ["short"]),
        ("test_a.py", "@given(lengths)\ndef near(n): torch.testing.assert_close(n, n)", ["near"]),
        ("test_a.py", "class Any:\n    def test_one(self): assert 1", ["test_one"]),
        ("cases.py", "def test_one(): assert 1", ["test_one"]),
        ("test_a.py", "def check(n): assert n\ndef test_one(): check(1)", []),
        ("test_a.py", "def check(n): assert n\nPROCESS = Process(target=check)", []),
        ("test_a.py", "def shared(n): assert n", []),
        ("test_a.py", "class TestA:\n    def run(self): assert 1\n    def test_one(self): self.run()", []),
        ("test_a.py", "@pytest.fixture(scope='module')\ndef made(): assert 1", []),
        ("test_a.py", "class Double:\n    def close(self): assert self", []),
        ("cases.py", "def check(n): assert n", []),
    ],
)
def test_what_counts_as_a_lost_test(file: str, text: str, lost: Sequence[str]) -> None:
    assert [fault.split(": ")[1] for fault in never_collected(file, ast.parse(text), {"shared"})] == lost


def test_tensorboard_is_imported_in_one_file() -> None:
    """import-linter cannot say this: `torch.utils.tensorboard` is part of a package that everybody may import."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path, module in parsed(PACKAGE, "tensorboard").items()
        if any(re.match(r"(torch\.utils\.)?tensorboardX?(\.|$)", name) for name in _imports(module))
    }
    assert found == {"training/tensorboard.py"}


def _imports(tree: ast.AST) -> Iterator[str]:
    """The full names of all that is imported, except for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _imports(node)


def same_but_for_the_ending(names: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of file and folder names (a file without .py) of which each is the same word, whatever its ending."""

    def stem(name: str) -> str:
        short = re.sub(r"(_?s|es|ed|er|ers|or|ors|ing|ings|ion|ions|e|y|ies)$", "", name)
        return short if len(short) > 2 else name

    return [(a, b) for a, b in combinations(sorted(names), 2) if stem(a) == stem(b)]


def test_no_two_files_of_a_folder_are_almost_the_same_word() -> None:
    for folder in (PACKAGE, *(file.parent for file in PACKAGE.rglob("*/__init__.py"))):
        names = [
            path.stem for path in folder.iterdir() if path.suffix in (".py", "") and not path.stem.startswith("__")
        ]
        assert same_but_for_the_ending(names) == [], folder


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("sampler", "order", "sampling"), 1),
        (("lists", "listing"), 1),
        (("weights", "weights", "create"), 1),  # weights.py beside weights/
        (("view", "views", "view_s"), 3),
        (("load", "loader", "loading", "encode", "encoder"), 4),
        (("native", "native_layer", "pyav", "packets", "picture", "open", "ops", "rgb"), 0),
    ],
)
def test_what_counts_as_almost_the_same_word(names: Sequence[str], pairs: int) -> None:
    assert len(same_but_for_the_ending(names)) == pairs
