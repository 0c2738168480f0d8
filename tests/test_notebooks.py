"""The notebooks run from the first cell to the last. Their code cells are executed in one namespace, as a kernel does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from tests.documents import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_results(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    cells = content["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize(
    ("name", "printed", "file"),
    [
        ("predict", ["move_left", "happens", "found"], "timeline.png"),
        ("search", ["16 videos\n", "rotate_clockwise/"], "clips.lance"),
        ("finetune", ["videos to learn from, classes: move_left, rotate_clockwise, scatter", "Prediction("], None),
    ],
)
def test_a_notebook_runs(
    name: str,
    printed: list[str],
    file: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {"__name__": "notebook"}
    with mpl.rc_context({"backend": "agg"}):
        for cell in cells_of(ROOT / "notebooks" / f"{name}.ipynb"):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{name}, {cell['id']}", "exec"), made)
    text = capsys.readouterr().out
    assert [part for part in printed if part not in text] == []
    assert file is None or (tmp_path / file).exists()


def test_every_notebook_is_run_and_named_in_the_quick_start() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["finetune", "predict", "search"]
    page = (ROOT / "docs" / "quick_start.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.name}" in page for path in NOTEBOOKS)
