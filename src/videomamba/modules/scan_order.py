"""In which order a scan meets the tokens of a clip (paper, section 3.2 and figure 4).

The canonical order is spatial-first: frame after frame, each row by row. `temporal_order` gives the permutation to the
other one: for each place of the picture its whole history. The spatiotemporal variants combine these two.
Special tokens (class token, registers) keep their slots in the sequence; only patch tokens change places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Order = tuple[Tensor, Tensor] | None
"""(order, inverse), each (l,) or, where the clips of a batch differ, (b, l); None is the order of the tokens as they are."""


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


def temporal_orders(frames: Sequence[int], places: int, length: int) -> tuple[Tensor, Tensor]:
    """(order, inverse), each (b, length) int64, for clips of `frames[i]` frames behind a class token; padding stays behind."""
    orders = np.tile(np.arange(length), (len(frames), 1))
    for row, count in zip(orders, frames, strict=True):
        row[: 1 + count * places] = temporal_order(count, places)[0].numpy()
    return torch.from_numpy(orders), torch.from_numpy(np.argsort(orders, axis=1))


def take(x: Tensor, order: Tensor) -> Tensor:
    """x (b, l, d) with its tokens in `order`, (l,) or (b, l)."""
    return x[:, order] if order.ndim == 1 else x.take_along_dim(order[..., None], dim=1)


def reordered(x: Tensor, order: Order, layer: Callable[[Tensor], Tensor]) -> Tensor:
    """`layer` on the tokens of x (b, l, d) in `order`, its result in theirs."""
    return layer(x) if order is None else take(layer(take(x, order[0])), order[1])


def register_slots(num_registers: int, num_patches: int) -> tuple[int, ...]:
    """Where evenly spaced registers stand in a sequence of class token, patches and registers (Mamba-Reg, section 3.2).

    Register i follows a share (i + 1) / (num_registers + 1) of the patches; slot 0 is the class token.
    """
    return tuple(1 + (i + 1) * num_patches // (num_registers + 1) + i for i in range(num_registers))
