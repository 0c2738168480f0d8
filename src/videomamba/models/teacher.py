"""Frozen teachers: networks whose tokens on the student's grid are the targets of distillation and masked pretraining.

Shapes: b clips, t frames, T time steps, p patches of a frame, k layers, c width of the teacher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from operator import index as as_index
from typing import Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from videomamba.models.config import VideoMambaConfig
from videomamba.models.identity import identity_of
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import Block
from videomamba.modules.scan_order import Order, reordered
from videomamba.schema import Preprocess, VideoMambaError

Precision = Literal["fp32", "bf16"]


class TeacherOutput(NamedTuple):
    """`tokens` (k, b, 1 + T p, c) fp32 of k layers, shallow to deep: class token first, patches spatial-first, of any length.

    `attention` (b, T, p) fp32, where asked for: how much the class token (or the pooled feature) reads of each patch. Not
    negative, not renormalised; it may be 0.
    """

    tokens: Tensor
    attention: Tensor | None


class Teacher(Protocol):
    """What recipes need of a teacher. It has no gradient and does not change.

    `name` is for messages and the record of a run; for networks other than `FrozenTeacher` it is also what a run knows them
    by, so another network needs another name. `dim` is c, `depth` the number of layers, `grid` (T, h, w) that of the
    patches, p = h w. The call takes the student's clips (b, 3, t, h, w), normalised by the student's mean and std; negative
    `layers` count from the last. A batch without clips has a result without rows.
    """

    name: str
    dim: int
    depth: int
    grid: tuple[int, int, int]

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput: ...

    def to(self, device: str | torch.device) -> Self: ...


class Renormalise:
    """Pixels normalised by one mean and std -> normalised by another: x scale + shift for each channel.

    Equal statistics change no bit. `statistics` are mean and std of the student's pixels and of the teacher's.
    """

    def __init__(self, source: Preprocess, mean: Sequence[float], std: Sequence[float]) -> None:
        was, now = (torch.tensor(pair, dtype=torch.float64) for pair in ((source.mean, source.std), (mean, std)))
        self.statistics = {"student": was.tolist(), "teacher": now.tolist()}
        self._changes = not torch.equal(was, now)
        scale, shift = was[1] / now[1], (was[0] - now[0]) / now[1]
        self._scale, self._shift = (values.float().reshape(3, 1, 1, 1) for values in (scale, shift))

    def __call__(self, video: Tensor) -> Tensor:
        """(b, 3, t, h, w) -> the same shape, on its device."""
        if not self._changes:
            return video
        if self._scale.device != video.device:
            self._scale, self._shift = self._scale.to(video.device), self._shift.to(video.device)
        return torch.addcmul(self._shift, video.float(), self._scale)


class FrozenTeacher(ABC):
    """A network as a `Teacher`: in evaluation mode, without gradients, in its own precision under any autocast.

    It is no module on purpose: as an attribute of one it adds no parameter, no entry of a state dict, and `train()` does not
    reach it. `notes` are lines that a user should read, such as that its positions were resized. Outputs are ordinary
    tensors, not those of inference mode: a student may save them for its backward pass.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        dim: int,
        depth: int,
        grid: tuple[int, int, int],
        precision: Precision,
        renormalise: Renormalise,
        notes: Iterable[str] = (),
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.name, self.dim, self.depth, self.grid = name, dim, depth, grid
        self.precision, self.notes = precision, tuple(notes)
        self._renormalise = renormalise

    @property
    def identity(self) -> str:
        """A digest of all that changes an output: tensors, config, mean and std of both sides, precision. It reads all weights.

        Neither the name nor the place of the file counts.
        """
        own = {"kind": type(self).__name__, "grid": self.grid, "precision": self.precision, **self._settings()}
        return identity_of(self.network.state_dict(), {**own, "statistics": self._renormalise.statistics})

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
        """See `Teacher`. Raises VideoMambaError for a layer that it does not have, ValueError for a clip of another shape."""
        wanted = self._indices(layers)
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
            return self._read(video, wanted, attention)

    def to(self, device: str | torch.device) -> Self:
        self.network.to(device)
        return self

    def _indices(self, layers: Sequence[int]) -> list[int]:
        """`layers` from 0 on, ascending."""
        wanted = [as_index(i) for i in layers]
        for i in wanted:
            if not -self.depth <= i < self.depth:
                raise VideoMambaError(f"teacher {self.name}: has no layer {i}; give {-self.depth} to {self.depth - 1}")
        found = sorted({i % self.depth for i in wanted})
        if len(found) < len(wanted) or not found:
            raise VideoMambaError(f"teacher {self.name}: layers {wanted} must be at least one, each named once")
        return found

    @abstractmethod
    def _settings(self) -> dict[str, object]:
        """What changes an output beside tensors, grid, statistics and precision."""

    @abstractmethod
    def _read(self, video: Tensor, layers: list[int], attention: bool) -> TeacherOutput:
        """The result for `layers`, from 0 on and ascending; no gradient and no autocast is active."""


class VideoMambaTeacher(FrozenTeacher):
    """A VideoMamba that teaches; it takes `model` over: frozen, and in bf16 where `precision` says so.

    `own` is the preprocessing that the model was trained with, `clip` the student's; only mean and std may differ. The tokens
    of a layer are those after it under the final norm: of the last layer, `forward_tokens`. Registers are not among them.

    A VideoMamba has no attention. The `attention` that stands in for the row of a ViT's class token:

    - pool "cls": the class token's row of the last block's implicit attention (arXiv 2403.01590), its absolute value, mean
      over channels, see `BiMamba.class_attention`. The class token stands first, so only the backward scan reads the patches
      for it. A patch decays with its distance along the scan, as it does for the network itself. `spatiotemporal_v2` reads in
      two orders: the mean of both.
    - pool "mean": the share of each patch token f in the pooled feature m, max(<f, m>, 0).
    """

    network: VideoMamba

    def __init__(
        self,
        model: VideoMamba,
        own: Preprocess,
        clip: Preprocess,
        *,
        name: str,
        precision: Precision = "fp32",
        notes: Iterable[str] = (),
    ) -> None:
        config = model.config
        for record in (own, clip):
            if (record.num_frames, record.image_size) != (config.num_frames, config.image_size):
                raise ValueError(f"the clips of {record!r} do not fit the model: {config!r}")
        super().__init__(
            model,
            name=name,
            dim=config.dim,
            depth=config.depth,
            grid=config.grid,
            precision=precision,
            renormalise=Renormalise(clip, own.mean, own.std),
            notes=notes,
        )
        if precision == "bf16":
            cast_products(model, torch.bfloat16)
        model.prepare_constants()

    def _settings(self) -> dict[str, object]:
        return {"config": self.network.config.model_dump_json()}

    def _read(self, video: Tensor, layers: list[int], attention: bool) -> TeacherOutput:
        model = self.network
        reads = attention and model.config.pool == "cls"
        before_last = [self.depth - 2] if reads and self.depth > 1 else []
        tokens = model.embed(self._renormalise(video))
        last, tapped = model.encode(tokens, taps=[*layers, *before_last])
        found = torch.stack([self._final(stream) for stream in tapped[: len(layers)]])
        row = None
        if attention:
            row = self._class_row(tapped[-1] if before_last else tokens) if reads else self._share(self._final(last))
        return TeacherOutput(found, row)

    def _final(self, stream: Tensor) -> Tensor:
        """Residual stream (b, l, d) -> (b, 1 + T p, d) after the final norm, without registers."""
        tokens: Tensor = self.network.norm_f(stream)
        if not self.network.config.num_registers:
            return tokens
        return torch.cat((tokens[:, :1], self.network.layout.patches(tokens)), dim=1)

    def _class_row(self, stream: Tensor) -> Tensor:
        """Input of the last block (b, l, d) -> (b, T, p)."""
        block = self.network.layers[-1]
        assert isinstance(block, Block)
        normed = block.norm(stream)

        def row(tokens: Tensor) -> Tensor:
            return block.mixer.class_attention(tokens).unsqueeze(-1)

        rows = torch.stack([reordered(normed, order, row) for order in self._orders_on(stream.device)]).mean(dim=0)
        return self._on_grid(self.network.layout.patches(rows).squeeze(-1))

    def _orders_on(self, device: torch.device) -> list[Order]:
        """The scan orders of the last block."""
        config, layout = self.network.config, self.network.layout
        temporal = None
        if config.temporal_from < config.depth or config.scan_order == "spatiotemporal_v2":
            order, inverse = layout.temporal_order()
            temporal = order.to(device), inverse.to(device)
        return [None, temporal] if config.scan_order == "spatiotemporal_v2" else [temporal]

    def _share(self, tokens: Tensor) -> Tensor:
        """Final tokens (b, 1 + T p, d) -> (b, T, p)."""
        patches = tokens[:, 1:]
        mean = patches.mean(dim=1, keepdim=True)
        return self._on_grid((patches * mean).sum(dim=-1).clamp_min(0))

    def _on_grid(self, row: Tensor) -> Tensor:
        steps, rows, columns = self.grid
        return row.reshape(row.shape[0], steps, rows * columns)


def taught(teacher: Teacher, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
    """The output of any teacher for clips (b, 3, t, h, w). Raises VideoMambaError for another shape than that of `Teacher`."""
    output = teacher(video, layers=layers, attention=attention)
    steps, rows, columns = teacher.grid
    clips, patches = len(video), rows * columns
    wanted = (len(layers), clips, 1 + steps * patches, teacher.dim)
    if tuple(output.tokens.shape) != wanted:
        raise VideoMambaError(
            f"teacher {teacher.name}: gives tokens of {tuple(output.tokens.shape)}, not of {wanted}: layers, clips, class "
            "token and patches, width"
        )
    if output.attention is not None and tuple(output.attention.shape) != (clips, steps, patches):
        raise VideoMambaError(
            f"teacher {teacher.name}: gives attention of {tuple(output.attention.shape)}, not of {(clips, steps, patches)}: "
            "clips, time steps, patches of each"
        )
    return output


def check_teacher(teacher: Teacher, config: VideoMambaConfig) -> None:
    """Raises VideoMambaError, one line with what to change, unless the tokens of `teacher` lie on the grid of the student."""
    if tuple(teacher.grid) == config.grid:
        return
    theirs, ours = ("x".join(map(str, grid)) for grid in (teacher.grid, config.grid))
    raise VideoMambaError(
        f"teacher {teacher.name}: has a grid of {theirs} tokens, the student {ours} "
        f"(time, height, width); {_fitting(teacher.grid, config)}, or choose another teacher"
    )


def _fitting(grid: tuple[int, int, int], config: VideoMambaConfig) -> str:
    """The settings with which a student gets this grid."""
    steps, rows, columns = grid
    changes = []
    if steps != config.grid[0]:
        tubelet = max(config.num_frames // steps, 1)
        fits = tubelet * steps == config.num_frames
        changes.append(f"model.tubelet_size {tubelet}" if fits else f"clip.num_frames {steps * config.tubelet_size}")
    if (rows, columns) != config.grid[1:]:
        patch = max(config.image_size[0] // rows, 1)
        fits = config.image_size == (patch * rows, patch * columns)
        size = f"clip.image_size {config.patch_size * rows} {config.patch_size * columns}"
        changes.append(f"model.patch_size {patch}" if fits else size)
    return f"set {' and '.join(changes)}"
