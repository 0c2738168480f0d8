"""An OpenVINO file of a network, made from its ONNX file, and the file opened. They need the packages `onnx` and `openvino`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videomamba.export.comparison import Run
from videomamba.schema import VideoMambaError

try:
    import openvino
except ModuleNotFoundError as error:
    raise VideoMambaError("an OpenVINO file needs openvino; pip install 'videomamba[openvino]'") from error


def write_openvino(onnx_file: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes the network of `onnx_file` to `path` (.xml) and its weights, fp32, next to it (.bin). Raises OSError."""
    model = openvino.Core().read_model(onnx_file)
    for key, value in metadata.items():
        model.set_rt_info(value, ["videomamba", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def open_openvino(path: Path, *, threads: int = 0, precision: str = "f32") -> Run:
    """The file on the CPU; 0 threads: OpenVINO's own choice. `precision` is that of the arithmetic, "f32" or "bf16"."""
    hints: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", hints)

    def run(video: Tensor) -> Tensor:
        return torch.from_numpy(np.array(compiled(video.numpy())[0]))

    return run
