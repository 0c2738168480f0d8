"""A file of torch.export computes what the network computes, in a process that knows the operators of the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from videomamba import Predictor
from videomamba.export.export import export
from videomamba.export.torch_file import METADATA

pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")


def test_the_file_equals_the_network_and_has_its_metadata(bundle: Path, clips: Path, tmp_path: Path) -> None:
    done = export(bundle, tmp_path / "net.pt2", to="torch", clips=[clips / "clip0.mp4"])
    assert done.files == (tmp_path / "net.pt2",) and done.comparison.error < 1e-4
    assert done.comparison.shapes == ((3, 4), (1, 4), (3, 2))
    extra = {METADATA: ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert tuple(json.loads(json.loads(extra[METADATA])["labels"])) == Predictor.from_pretrained(bundle).labels
    assert "videomamba.selective_scan.default" in {str(node.target) for node in program.graph.nodes}
