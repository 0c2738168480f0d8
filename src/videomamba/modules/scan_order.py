"""The slots of tokens in the sequence of a clip, and the orders in which a scan reads them (paper, section 3.2, figure 4).

The canonical order is spatial-first: frame after frame, each row by row. `temporal_order` gives the permutation to the
other one: for each place of the picture all its time steps. The spatiotemporal variants combine these two.
Special tokens (class token, registers) keep their slots in the sequence; only patch tokens move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

Permutation = tuple[Tensor, Tensor]
"""(order, inverse), each (l,) or, where the clips of a batch differ, (b, l) int64: x[:, order][:, inverse] is x again."""
Order = Permutation | None
"""None is the order of the tokens as they are."""


class TokenLayout:
    """The sequence of a clip: class token first, then its patches, spatial-first, with registers evenly among them.

    The clip has `steps` time steps of `places` patches. `special` are the slots of class token and registers, ascending:
    register i follows a share (i + 1) / (num_registers + 1) of the patches (Mamba-Reg, arXiv 2405.14858, section 3.2).
    """

    def __init__(self, steps: int, places: int, num_registers: int = 0) -> None:
        self.steps, self.places, self.num_registers = steps, places, num_registers
        patches = steps * places
        registers = (1 + (i + 1) * patches // (num_registers + 1) + i for i in range(num_registers))
        self.special = (0, *registers)
        self.length = len(self.special) + patches

    def runs(self, first: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Patches first..stop-1, around the special tokens: (slots in the sequence, patches counted from `first`)."""
        for i, slot in enumerate(self.special):
            end = self.special[i + 1] if i + 1 < len(self.special) else self.length
            begin, last = max(first, slot - i), min(stop, end - 1 - i)  # of the patches behind this special token
            if begin < last:
                yield slice(begin + i + 1, last + i + 1), slice(begin - first, last - first)

    def insert(self, registers: Tensor, tokens: Tensor) -> Tensor:
        """registers (b, r, d) into tokens (b, 1 + n, d), class token and patches -> (b, l, d)."""
        pieces, start = [], 0
        for i, slot in enumerate(self.special[1:]):
            pieces += [tokens[:, start : slot - i], registers[:, i : i + 1]]
            start = slot - i
        return torch.cat((*pieces, tokens[:, start:]), dim=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """(b, l, d) -> (b, n, d) without the special tokens. Without registers l may differ from `length`."""
        if not self.num_registers:
            return tokens[:, 1:]
        if tokens.shape[1] != self.length:
            raise ValueError(f"with registers there must be {self.length} tokens, got {tokens.shape[1]}")
        return torch.cat([tokens[:, slots] for slots, _ in self.runs(0, self.steps * self.places)], dim=1)

    def temporal_order(self) -> Permutation:
        """(order, inverse), each (l,): x[:, order] is temporal-first when x is spatial-first."""
        is_patch = np.ones(self.length, dtype=bool)
        is_patch[list(self.special)] = False
        order = np.arange(self.length)
        order[is_patch] = np.flatnonzero(is_patch).reshape(self.steps, self.places).T.reshape(-1)
        return torch.from_numpy(order), torch.from_numpy(np.argsort(order))


def temporal_orders(steps: Sequence[int], places: int, length: int) -> Permutation:
    """(order, inverse), each (b, length), for clips of `steps[i]` time steps behind a class token; padding stays behind."""
    orders = np.tile(np.arange(length), (len(steps), 1))
    for row, count in zip(orders, steps, strict=True):
        row[: 1 + count * places] = TokenLayout(count, places).temporal_order()[0].numpy()
    return torch.from_numpy(orders), torch.from_numpy(np.argsort(orders, axis=1))


def visible_order(order: Permutation, visible: Tensor) -> Permutation:
    """The order of a complete clip, (l,) or (b, l), for the tokens at slots `visible` (b, v) int64 alone: each (b, v).

    x[:, order] has the visible tokens x (b, v, d) in the clip's order. Any slots may be visible, in any order, once each.
    """
    inverse = order[1].to(visible.device)
    ranks = inverse[visible] if inverse.ndim == 1 else inverse.gather(1, visible)
    visible_first = ranks.argsort(dim=1)
    return visible_first, visible_first.argsort(dim=1)


def take(x: Tensor, order: Tensor) -> Tensor:
    """x (b, l, d) with its tokens in `order`, (l,) or (b, l)."""
    return x[:, order] if order.ndim == 1 else x.take_along_dim(order[..., None], dim=1)


def reordered(x: Tensor, order: Order, layer: Callable[[Tensor], Tensor]) -> Tensor:
    """`layer` on the tokens of x (b, l, d) in `order`; the result is in the order of x."""
    return layer(x) if order is None else take(layer(take(x, order[0])), order[1])
