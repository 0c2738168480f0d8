"""One video of any length through a network in one pass, in bounded memory; inference only.

The tokens of all frames are in a residual stream (1, l, d) that the layers change in place, block by block, forward and
backward in turn (`ops.halves`). Besides it only one direction's result (1, l, e) grows with the video. With
`keep="states"` that is replaced by the states of a layer at the borders of blocks, about a hundredth of the stream.

| bytes of each token | fp32 | bf16 |
|---|---|---|
| residual stream, `stream` | 4 d | 2 d |
| one direction's result, in the dtype of the products, keep="direction" | 4 e | 2 e |
| the same, keep="states" | 0 | 0 |

Shapes: t frames, T = t / tubelet time steps, p patches of a frame, l tokens, d width, e inner channels.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import Block
from videomamba.modules.embed import resize_temporal
from videomamba.modules.scan_order import TokenLayout
from videomamba.ops import dispatch
from videomamba.ops.dispatch import FirstHalf, SecondHalf, WalkState
from videomamba.schema import VideoMambaError

Keep = Literal["direction", "states"]
Progress = Callable[[int, int], None]

REORDER_BYTES = 2**26
"""The part of the stream that is copied at once when its tokens are reordered."""
READ_TOKENS = 2**14
"""Tokens that the final norm sees at once."""


@dataclass(frozen=True)
class WholeResult:
    """The result of one pass through a video, all fp32 on the CPU.

    frames (T, d): for each time step the mean of its patch tokens after the final norm. features (d,): as
    `forward_features`. logits (num_classes,), or the features where there is no head.
    """

    frames: Tensor
    features: Tensor
    logits: Tensor


class WholePass:
    """A pass through a video of `num_frames` frames: give them to `push` in order, then call `run` once.

    The number of frames is any multiple of the tubelet: temporal positions are resized linearly, as `load_weights` does,
    and `note` says so. `stream` is the dtype of the residual stream; bf16 halves it and rounds each layer's sum. `keep` is
    what is kept between the two walks of a layer: the result of the first, or states from which it is computed again, which
    takes about a third longer. With `folder` the tensors that grow are in a temporary file there, of which the system keeps
    in memory as much as fits.

    The result is that of `VideoMamba.forward`, up to rounding. Raises ValueError for a scan order of two results
    ("spatiotemporal_v2"), for blocks with adapters or hooks, and for frames that do not fit; MemoryError when the tokens
    take more memory than the machine has; VideoMambaError when the file cannot be created.
    """

    def __init__(
        self,
        model: VideoMamba,
        num_frames: int,
        *,
        stream: torch.dtype = torch.float32,
        keep: Keep = "direction",
        folder: Path | None = None,
    ) -> None:
        config = model.config
        if config.scan_order == "spatiotemporal_v2":
            raise ValueError("spatiotemporal_v2 adds two results in each block: run it as one clip of fewer frames")
        if num_frames < 1 or num_frames % config.tubelet_size:
            raise ValueError(f"num_frames must be a multiple of tubelet_size {config.tubelet_size}, got {num_frames}")
        if stream not in (torch.float32, torch.bfloat16):
            raise ValueError(f"stream must be torch.float32 or torch.bfloat16, got {stream}")
        if keep not in ("direction", "states"):
            raise ValueError(f"keep must be 'direction' or 'states', got {keep!r}")
        self.model = model
        self.layout = TokenLayout(num_frames // config.tubelet_size, model.layout.places, config.num_registers)
        self.length = length = self.layout.length
        device = model.pos_embed.device
        products = model.layers[0].get_submodule("mixer.in_proj").weight
        assert isinstance(products, Tensor)
        waiting = config.inner_dim * products.dtype.itemsize if keep == "direction" else 0
        if folder is None and device.type == "cpu":
            _check_room(length * (config.dim * stream.itemsize + waiting))
        self._temporal, self.note = self._positions()
        self._pushed = 0
        self._blocks = dispatch.blocks_of(length, token_bytes=config.inner_dim * products.dtype.itemsize)
        self._stream = _grown((1, length, config.dim), stream, device, folder)
        direction = (1, length, config.inner_dim)
        self._waiting = _grown(direction, products.dtype, device, folder) if keep == "direction" else None
        self._states = [WalkState() for _ in self._blocks]
        longest = self._blocks[0].stop
        self._block = torch.empty((1, longest if stream != torch.float32 else 0, config.dim), device=device)

    def _positions(self) -> tuple[Tensor | None, str]:
        trained = self.model.config.grid[0]
        if trained == 1:
            return None, "the network knows no temporal positions"
        table = self.model.temporal_pos_embedding.detach()
        steps = self.layout.steps
        if trained == steps:
            return table, f"temporal positions as trained, {trained} time steps"
        resized = resize_temporal(table, steps).to(table.dtype)
        return resized, f"temporal positions of {trained} time steps stretched to {steps} by linear interpolation"

    @torch.inference_mode()
    def push(self, frames: Tensor) -> None:
        """The next frames, (3, t, h, w) normalised, t a multiple of the tubelet. Pixels are not kept."""
        config = self.model.config
        steps = frames.shape[1] // config.tubelet_size if frames.ndim == 4 else 0
        left = self.layout.steps - self._pushed
        if frames.ndim != 4 or (frames.shape[0], *frames.shape[2:]) != (3, *config.image_size):
            raise ValueError(f"frames must be (3, t, {config.image_size}), got {tuple(frames.shape)}")
        if frames.shape[1] % config.tubelet_size or not 0 < steps <= left:
            raise ValueError(f"got {frames.shape[1]} frames, {left * config.tubelet_size} are missing")
        temporal = None if self._temporal is None else self._temporal[:, self._pushed : self._pushed + steps]
        patches = self.model.embed_patches(frames[None].to(self._stream.device), temporal)
        first = self._pushed * self.layout.places
        for slots, part in self.layout.runs(first, first + steps * self.layout.places):
            self._stream[:, slots] = patches.flatten(1, 2)[:, part]
        self._pushed += steps

    @torch.inference_mode()
    def run(self, progress: Progress | None = None) -> WholeResult:
        """All layers, only once: the stream is used up. `progress(done, total)` is called after each block of tokens.

        Raises ValueError when frames are missing, and for a second call.
        """
        if self._pushed < 0:
            raise ValueError("a pass runs only once: make another one")
        if self._pushed < self.layout.steps:
            raise ValueError(f"{self._pushed} of {self.layout.steps} time steps have been pushed: push the others")
        self._pushed = -1
        model = self.model
        self._stream[:, :1] = model.embed_class()
        for i, slot in enumerate(self.layout.special[1:]):
            self._stream[:, slot] = model.register_tokens[:, i]
        with dispatch.reused_buffers():
            self._layers(progress)
        frames = self._frames()
        if model.config.pool == "mean":
            features = frames.double().mean(dim=0, keepdim=True).float()
        else:
            features = model.pool(self._stream)
        logits = model.classify(features)
        return WholeResult(frames.cpu(), features[0].float().cpu(), logits[0].float().cpu())

    def _layers(self, progress: Progress | None) -> None:
        layers, depth, switch = list(self.model.layers), self.model.config.depth, self.model.config.temporal_from
        total, done = (depth + 1 + (0 < switch < depth)) * len(self._blocks), count(1)

        def tick() -> None:
            if progress is not None:
                progress(next(done), total)

        pending: SecondHalf | None = None
        reverse = False
        for i in range(depth + 1):
            if i == switch < depth:
                if pending is not None:
                    self._walk(pending, None, reverse, tick)
                    pending, reverse = None, not reverse
                self._reorder(self.layout.temporal_order()[0])
            first, second = None, None
            if i < depth:
                layer = layers[i]
                assert isinstance(layer, Block)
                first, second = layer.halves(reverse=reverse)
            self._walk(pending, first, reverse, tick)
            pending, reverse = second, not reverse
        if switch < depth:
            self._reorder(self.layout.temporal_order()[1])

    def _walk(
        self, second: SecondHalf | None, first: FirstHalf | None, reverse: bool, tick: Callable[[], None]
    ) -> None:
        """One pass: the `second` half of a layer and the `first` of the next. `tick` is called after each block."""
        numbers = range(len(self._blocks))
        for i in reversed(numbers) if reverse else numbers:
            block = self._blocks[i]
            rows = self._stream[:, block]
            residual = rows if rows.dtype == torch.float32 else self._block[:, : rows.shape[1]].copy_(rows)
            waiting = None if self._waiting is None else self._waiting[:, block]
            if second is not None:
                second.step(residual, self._states[i] if waiting is None else waiting)
                if residual is not rows:
                    rows.copy_(residual)
            if first is not None:
                if waiting is None:
                    self._states[i] = first.state
                first.step(residual, out=waiting)
            tick()

    def _reorder(self, order: Tensor) -> None:
        """The tokens in another order, in place: some channels at a time."""
        width = max(REORDER_BYTES // (self.length * self._stream.element_size()), 1)
        order = order.to(self._stream.device)
        for first in range(0, self._stream.shape[2], width):
            channels = slice(first, first + width)
            self._stream[:, :, channels] = self._stream[:, order, channels]

    def _frames(self) -> Tensor:
        """(T, d): the mean of each time step's patch tokens after the final norm."""
        steps, places = self.layout.steps, self.layout.places
        means = torch.empty(steps, self._stream.shape[2], device=self._stream.device)
        together = max(READ_TOKENS // places, 1)
        for step in range(0, steps, together):
            stop = min(step + together, steps)
            runs = self.layout.runs(step * places, stop * places)
            tokens = self.model.norm_f(torch.cat([self._stream[0, slots] for slots, _ in runs]))
            means[step:stop] = tokens.view(stop - step, places, -1).mean(dim=1)
        return means


def _check_room(needed: int) -> None:
    """Raises MemoryError for more than the machine has, before the system would kill a process."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # unknown on this system
        return
    if needed > total:
        raise MemoryError(f"its tokens take {needed / 1e9:.1f} GB, this machine has {total / 1e9:.1f} GB of memory")


def _grown(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, folder: Path | None) -> Tensor:
    """A tensor of any content; in a file in `folder` where one is given."""
    if folder is None:
        return torch.empty(shape, dtype=dtype, device=device)
    if device.type != "cpu":
        raise ValueError(f"a file holds tensors of the CPU, the model is on {device}")
    size = dtype.itemsize * math.prod(shape)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".videomamba-", delete=False) as file:
            try:
                _reserve(file.fileno(), size)
                flat = torch.from_file(file.name, shared=True, size=size // dtype.itemsize, dtype=dtype)
            finally:
                # Where the system allows it, the mapped file loses its name, so that it always disappears.
                with suppress(PermissionError):
                    Path(file.name).unlink()
    except OSError as error:
        raise VideoMambaError(
            f"{folder}: cannot hold a file of {size / 1e9:.1f} GB ({error.strerror}); choose another folder"
        ) from error
    return flat.view(shape)


def _reserve(file: int, size: int) -> None:
    """Allocates the blocks of the file: in a sparse one a full disk would kill the process at a later write."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
