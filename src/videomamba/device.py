"""The device on which a network runs, chosen alike for training and for answers."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """The device called `name`, after a test of it; "auto": the best available.

    Raises RuntimeError, ValueError, TypeError, AssertionError or ImportError, PyTorch's own, when it cannot be used here.
    """
    device = torch.device(name) if name != "auto" else torch.accelerator.current_accelerator(check_available=True)
    tried = torch.zeros(1, device=device or torch.device("cpu"))
    tried.item()  # fails on a device without data, such as "meta"
    if tried.is_cuda:
        torch.cuda.set_device(tried.device)
    return tried.device
