"""The C++ CPU kernels of csrc/: which machine they serve, and how tensors reach them as pointers, shapes and strides."""

from __future__ import annotations

import torch


def why_not(*, device: torch.device, dtype: torch.dtype) -> str | None:
    return "not built"
