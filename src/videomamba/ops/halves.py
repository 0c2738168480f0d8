"""The two walks of a layer as separate steps: so a network of any length runs with a residual stream changed in place.

A layer needs both of its walks before its residual sum, and the second may go in either direction. So the first walk of
layer i + 1 can follow the second walk of layer i in the same direction, on the block that is in the cache: a network of
n layers takes n + 1 passes over its tokens, forward and backward in turn, instead of 2 n.

Between its walks a layer keeps the ungated result of the first, (b, l, e), or only the walk's states at the borders of
blocks, from which the second computes that result again. The second walk always computes x, the scanned half of in_proj,
again.

Shapes: b batch, s tokens of a block, d width, e inner channels.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from videomamba.ops.layout import LayerWeights, WalkState
from videomamba.ops.walk import Walk, Work, buffers, product


class _Half:
    """A walk of a layer in the direction of one of its two scans: the backward one with `reverse`."""

    def __init__(
        self, kernels: ModuleType, weights: LayerWeights, *, reverse: bool, eps: float, discretization: str
    ) -> None:
        self.kernels, self.weights, self.eps = kernels, weights, eps
        self.memory = buffers()
        directions = (weights.backward, weights.forward) if reverse else (weights.forward, weights.backward)
        self.walk, self.opposite = (
            Walk(kernels, direction, reverse=way, discretization=discretization)
            for direction, way in zip(directions, (reverse, not reverse), strict=True)
        )

    def _enter(self, residual: Tensor) -> Work:
        """Norm and x of the block."""
        work = self.memory.work(residual.shape[0], residual.shape[1], self.weights)
        self.kernels.norm(residual, self.weights.norm, eps=self.eps, out=work.normed)
        product(work.normed, self.weights.to_x, out=work.x)
        return work


class FirstHalf(_Half):
    """The walk whose result is kept."""

    def step(self, residual: Tensor, *, out: Tensor | None = None) -> None:
        """residual (b, s, d) fp32 of the next block in walking order -> its ungated result, into `out` (b, s, e)."""
        work = self._enter(residual)
        if out is None:
            out = self.memory.get("unused", tuple(work.x.shape), like=work.x)
        self.walk.step(slice(0, residual.shape[1]), work, work.x, z=None, other=None, out=out)

    @property
    def state(self) -> WalkState:
        """The walk's state after the blocks so far: enough to compute the next one's result again."""
        return self.walk.state


class SecondHalf(_Half):
    """The walk that adds the result of the first, applies the gate, projects back and adds to the residual stream."""

    def step(self, residual: Tensor, first: Tensor | WalkState) -> None:
        """Adds the layer's output to `residual` (b, s, d) fp32, in place.

        `first` is the ungated result of the first half for this block, (b, s, e), which is overwritten, or the state with
        which the first half entered the block.
        """
        work, block = self._enter(residual), slice(0, residual.shape[1])
        if isinstance(first, WalkState):
            self.opposite.state = first
            first = self.memory.get("first", tuple(work.x.shape), like=work.x)
            self.opposite.step(block, work, work.x, z=None, other=None, out=first)
        product(work.normed, self.weights.to_z, out=work.z)
        self.walk.step(block, work, work.x, z=work.z, other=first, out=first)
        residual.add_(product(first, self.weights.to_out, out=work.hidden))
