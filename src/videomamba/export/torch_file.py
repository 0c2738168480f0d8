"""A network as a file of torch.export, which holds our operators and runs at their speed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomamba.export.comparison import Run
from videomamba.export.program import trace
from videomamba.models.videomamba import VideoMamba

METADATA = "videomamba.json"
"""The extra file inside, which `torch.export.load(..., extra_files={METADATA: ""})` reads."""


def write_program(model: VideoMamba, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes `model` to `path` (.pt2). The process that loads it has to `import videomamba.ops`. Raises OSError."""
    torch.export.save(trace(model), path, extra_files={METADATA: json.dumps(dict(metadata))})


def open_program(path: Path) -> Run:
    module: Any = torch.export.load(path).module()

    def run(video: Tensor) -> Tensor:
        with torch.no_grad():
            output: Tensor = module(video)
        return output

    return run
