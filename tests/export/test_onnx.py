"""An ONNX file computes what the network computes, for other numbers of clips and frames than it was exported with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from videomamba import Predictor, create_model
from videomamba.export.comparison import compare
from videomamba.export.export import export
from videomamba.export.onnx_file import open_onnx, quantize, write_onnx
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Clip, Preprocess, VideoMambaError, WeightsError

ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),  # from PyTorch's own exporter
    pytest.mark.filterwarnings("ignore:.*torchvision.*"),
]


def network(**fields: object) -> VideoMamba:
    """Small and drawn as for training, so that outputs are of the usual size."""
    torch.manual_seed(3)
    small = {"depth": 1, "dim": 32, "num_frames": 4, "image_size": 32, "num_classes": 5}
    model = create_model("videomamba_micro", **{**small, **fields}).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def random_clips(model: VideoMamba, count: int = 3) -> list[Clip]:
    generator = torch.Generator().manual_seed(1)
    size = (3, model.config.num_frames, *model.config.image_size)
    return [Clip(torch.randn(size, generator=generator)) for _ in range(count)]


@pytest.mark.parametrize(
    "fields",
    [
        *({"scan_order": order, "depth": 2 if order == "spatiotemporal_v1" else 1} for order in ORDERS),
        {"discretization": "zoh", "merge": "mean", "pool": "mean", "tubelet_size": 2, "num_frames": 8},
        {"num_registers": 3, "scan_order": "temporal_first"},
        {"num_frames": 1},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_the_file_equals_the_network(fields: dict[str, object], tmp_path: Path) -> None:
    model, path = network(**fields), tmp_path / "a.onnx"
    write_onnx(model, path, {})
    found = compare(model, open_onnx(path, threads=1), random_clips(model), "random")
    assert found.error < 1e-4 and found.same_class == 1
    frames, free = model.config.num_frames, "num_registers" not in fields and model.config.num_frames > 1
    assert found.shapes == ((3, frames), (1, frames), (3, frames // 2))[: 3 if free else 2]
    with torch.no_grad():
        outputs = model(torch.stack([clip.data for clip in random_clips(model)]))
    assert (outputs[0] - outputs[1]).abs().max() > 0.01  # the clips are told apart, so 1e-4 means something


def test_another_value_is_a_difference() -> None:
    model = network()
    found = compare(model, lambda video: model(video, frames_of(video)) + 1e-3, random_clips(model), "random")
    assert 9e-4 < found.error < 1.1e-3 and found.same_class == 1


def frames_of(video: torch.Tensor) -> torch.Tensor:
    return torch.full((len(video),), video.shape[2])


@pytest.fixture(scope="module")
def exported(bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "net.onnx"
    done = export(bundle, out, clips=[clips / "clip0.mp4"])
    assert done.files == (out, out.with_name("run_net.py")) and done.comparison.error < 1e-4
    assert done.comparison.clips == str(clips / "clip0.mp4")
    return out


def test_it_has_standard_operators_only(exported: Path) -> None:
    proto = onnx.load(exported)
    assert {node.domain for node in proto.graph.node} == {""} and not proto.functions
    assert [opset.domain for opset in proto.opset_import] == [""]
    scans = [node for node in proto.graph.node if node.op_type == "Scan"]
    assert len(scans) == 2 * 2  # layers times directions


def test_labels_and_preprocessing_are_inside(exported: Path, bundle: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    metadata, predictor = session.get_modelmeta().custom_metadata_map, Predictor.from_pretrained(bundle)
    assert Preprocess.model_validate_json(metadata["preprocess"]) == predictor.preprocess
    assert tuple(json.loads(metadata["labels"])) == predictor.labels
    assert session.get_inputs()[0].shape[1:2] == [3]


def test_the_script_beside_it_answers_without_torch(exported: Path, bundle: Path, clips: Path) -> None:
    script, video = exported.with_name("run_net.py"), clips / "clip1.mp4"
    blocked = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['videomamba'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", blocked, str(script), str(exported), str(video)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    expected = Predictor.from_pretrained(bundle)(video)
    assert answer["path"] == str(video)
    assert [name for name, _ in answer["predictions"]] == [p.label for p in expected.predictions]
    scores = [score for _, score in answer["predictions"]]
    assert scores == pytest.approx([p.score for p in expected.predictions], abs=5e-3)  # pixels are rounded differently


def test_int8_weights_make_a_smaller_file_with_another_result(tmp_path: Path) -> None:
    model, path = network(dim=128), tmp_path / "a.onnx"
    write_onnx(model, path, {"labels": "[]"})
    exact = path.stat().st_size
    quantize(path)
    found = compare(model, open_onnx(path, threads=1), random_clips(model), "random")
    assert path.stat().st_size < 0.75 * exact
    assert 1e-5 < found.error < 1  # the classes of random weights lie close together: some change
    assert {prop.key: prop.value for prop in onnx.load(path).metadata_props}["labels"] == "[]"


def test_beyond_the_tolerance_nothing_is_written(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"not written, largest difference from PyTorch .* more than -1 is not allowed"
    ):
        export(bundle, tmp_path / "a.pt2", to="torch", tolerance=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("a.pt", {}, r"a\.pt: end its name in \.onnx for onnx"),
        ("a.pt2", {"to": "torch", "weights": "int8"}, "int8 weights are for ONNX"),
        ("absent/a.onnx", {}, "cannot be written .*; choose another folder"),
        ("kept.onnx", {}, "kept.onnx: exists"),
        ("a.onnx", {"clips": ["absent.mp4"]}, "absent.mp4: no such file"),
    ],
)
def test_mistakes_are_named(bundle: Path, tmp_path: Path, out: str, options: dict[str, object], said: str) -> None:
    (tmp_path / "kept.onnx").write_text("kept")
    call: Callable[..., object] = export
    with pytest.raises(VideoMambaError, match=said):
        call(bundle, tmp_path / out, **options)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


def test_not_a_number_is_no_agreement() -> None:
    model = network()
    found = compare(model, lambda video: torch.full((len(video), 5), np.nan), random_clips(model), "random")
    assert found.error == float("inf")
