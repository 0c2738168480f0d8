"""In which order a scan meets the tokens of a clip (paper, section 3.2 and figure 4).

The canonical order is spatial-first: frame after frame, each row by row. `temporal_order` gives the permutation to the
other one: for each place of the picture its whole history. The spatiotemporal variants combine these two.
Special tokens (class token, registers) keep their slots in the sequence; only patch tokens change places.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def temporal_order(frames: int, places: int, special: tuple[int, ...] = (0,)) -> tuple[Tensor, Tensor]:
    """(order, inverse), each (l,) int64 with l = frames * places + len(special).

    x[:, order] is temporal-first when x is spatial-first, and x[:, order][:, inverse] is x again.
    `special` are the slots of the tokens that stay where they are, in ascending order.
    """
    length = frames * places + len(special)
    is_patch = np.ones(length, dtype=bool)
    is_patch[list(special)] = False
    patch_slots = np.flatnonzero(is_patch)  # spatial-first
    order = np.arange(length)
    order[is_patch] = patch_slots.reshape(frames, places).T.reshape(-1)
    return torch.from_numpy(order), torch.from_numpy(np.argsort(order))


def register_slots(num_registers: int, num_patches: int) -> tuple[int, ...]:
    """Where evenly spaced registers stand in a sequence of class token, patches and registers (Mamba-Reg, section 3.2).

    Register i follows a share (i + 1) / (num_registers + 1) of the patches; slot 0 is the class token.
    """
    return tuple(1 + (i + 1) * num_patches // (num_registers + 1) + i for i in range(num_registers))
