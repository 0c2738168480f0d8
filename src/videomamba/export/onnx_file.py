"""An ONNX file of a network, and the file opened in onnxruntime. They need the extra `export`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomamba.export.comparison import Run
from videomamba.export.onnx_operators import OPSET, decompositions, scan_functions
from videomamba.export.program import trace
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import VideoMambaError

try:
    import onnx
    import onnx.inliner
    import onnx.parser
    import onnxruntime
    import onnxscript  # noqa: F401  PyTorch's exporter imports it
except ModuleNotFoundError as error:
    raise VideoMambaError(f"an ONNX file needs {error.name}; pip install 'videomamba[export]'") from error

INPUT, OUTPUT = "video", "output"


def write_onnx(model: VideoMamba, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes `model` to `path` as ONNX of standard operators: video (b, 3, t, h, w) fp32 -> output (b, classes) fp32.

    b is free, and so is t where `frames_are_free`: whole tubelets up to the network's own. Raises OSError.
    """
    program = trace(model).run_decompositions(dict(decompositions()))
    with _silent():
        exported: Any = torch.onnx.export(
            program, (), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    proto = exported.model_proto
    used = {node.op_type for node in proto.graph.node}
    for text in scan_functions():
        function = onnx.parser.parse_function(text)
        if function.name in used:
            proto.functions.append(function)
    proto = onnx.inliner.inline_local_functions(proto)
    standard = [opset for opset in proto.opset_import if opset.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(standard)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def quantize(path: Path) -> None:
    """Replaces the weights of the matrix products of the file at `path` by int8, with a scale for each column.

    Their inputs are rounded to 8 bits too, with a scale for each call.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent():
        quantize_dynamic(path, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def open_onnx(path: Path, *, threads: int = 0) -> Run:
    """The file in onnxruntime on the CPU; 0 threads: onnxruntime's own choice."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its warnings are about its own rewriting of the graph
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(video: Tensor) -> Tensor:
        (output,) = session.run(None, {INPUT: video.numpy()})
        return torch.from_numpy(output)

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Without what PyTorch and onnxruntime say about packages and passes of their own."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
