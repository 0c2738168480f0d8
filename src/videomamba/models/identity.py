"""What a network is, as a short text: equal texts mean equal outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def identity_of(tensors: Mapping[str, Tensor], settings: Mapping[str, object]) -> str:
    """A digest, 32 hexadecimal digits: names, dtypes, shapes and bytes of `tensors`, and `settings`, which JSON can hold."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for name, tensor in tensors.items():
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """The numbers of a tensor of any device and dtype, in the order of its indices."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
