"""An OpenVINO file computes what the network computes, for other numbers of clips and frames too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino takes 180 MB; install the extra videomamba[openvino]")

from tests.export.test_onnx import ORDERS, network, random_clips
from videomamba.export.comparison import compare
from videomamba.export.export import export
from videomamba.export.onnx_file import write_onnx
from videomamba.export.openvino_file import open_openvino, write_openvino
from videomamba.export.runner import open_network

pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")


@pytest.mark.parametrize("order", ORDERS)
def test_the_file_equals_the_network(order: str, tmp_path: Path) -> None:
    model = network(scan_order=order, depth=2)
    write_onnx(model, tmp_path / "a.onnx", {})
    write_openvino(tmp_path / "a.onnx", tmp_path / "a.xml", {})
    found = compare(model, open_openvino(tmp_path / "a.xml", threads=1), random_clips(model), "random")
    assert found.error < 1e-4 and found.shapes == ((3, 4), (1, 4), (3, 2))


def test_the_script_reads_labels_and_answers(bundle: Path, tmp_path: Path) -> None:
    done = export(bundle, tmp_path / "net.xml", to="openvino")
    assert [path.name for path in done.files] == ["net.xml", "net.bin", "run_net.py"]
    assert all(path.is_file() for path in done.files)
    _, metadata = open_network(str(tmp_path / "net.xml"))
    assert len(json.loads(metadata["labels"])) == 16
