"""Loading any released or trained weights into a VideoMamba, with a report on every tensor of both.

No tensor stays random unless the caller requests it: a difference that no documented conversion covers is an error,
raised before the model is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.embed import resize_positions, resize_temporal
from videomamba.schema import WeightsError
from videomamba.weights import zoo
from videomamba.weights.convert import (
    OTHER_PARTS,
    Inflation,
    infer_config,
    inflate_patch,
    square_grid,
    trunk_names,
    unwrap,
)
from videomamba.weights.read import WeightsFile, read_weights
from videomamba.weights.report import FATES, HEAD, KeyReport, LoadReport, shortened

HeadPolicy = Literal["keep", "replace"]


def load_weights(
    model: VideoMamba,
    weights: str | Path | Mapping[str, object] | WeightsFile,
    *,
    head: HeadPolicy = "keep",
    head_rows: Sequence[int] | None = None,
    rename_norm: bool = False,
    inflation: Inflation = "center",
    source_grid: tuple[int, int] | None = None,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> LoadReport:
    """Copies `weights` into `model`, whose dtype and device stay; returns a report on every tensor.

    `weights` is a path, a zoo name, a state dict (wrapped or bare) or the result of `read_weights`. Always done, and
    reported: prefixes of other programs are removed, a 2-D patch kernel is inflated (`inflation`), the position table is
    resized (bicubic), the temporal embedding is resized (linear), or zero when the file is of one frame.

    Only on request: `head="replace"` starts a new head (std 0.02, bias 0) whatever the file has;
    `head_rows` keeps those rows of the file's head, in that order (a 710-class Kinetics head: `range(400)`);
    `rename_norm` loads the file's `norm.weight` as `norm_f.weight` (the name in masked pretraining);
    `source_grid` is (gh, gw) of the file's position table where its length does not show it;
    `allow_missing` and `allow_unexpected` are `fnmatch` patterns of names that may be absent from the file (the model's
    values stay) or from the model.

    A bundle with another scan order, merge, discretization, pool or norm_eps is refused: its tensors would fit and mean
    something else. Its state dict alone (`read_weights(path).tensors`) is loaded without this check.

    Raises WeightsError, before anything is changed, for any other difference.
    """
    if head_rows is not None and head == "replace":
        raise ValueError("head_rows keeps rows of the file's head, head='replace' discards it: choose one")
    if isinstance(weights, str | Path):
        weights = read_weights(zoo.resolve_weights(weights))
    elif not isinstance(weights, WeightsFile):
        weights = WeightsFile("state dict", unwrap(weights, source="state dict"))
    target = model.state_dict()
    if any(tensor.is_meta for tensor in target.values()):
        raise ValueError("the model is on the meta device, without values: call model.to_empty(device=...) first")

    _same_network(weights, model)
    plan = _Plan(weights, model)
    plan.final_norm(rename=rename_norm, allow_missing=allow_missing)
    plan.head(policy=head, rows=head_rows)
    plan.patch_kernel(inflation)
    plan.positions(source_grid)
    plan.temporal()
    plan.rest(allow_missing=allow_missing, allow_unexpected=allow_unexpected)
    plan.raise_problems()

    with torch.no_grad():
        for key, value in plan.values.items():
            target[key].copy_(value)
    return LoadReport(weights.source, **{fate: tuple(entries) for fate, entries in plan.fates.items()})


def _same_network(weights_file: WeightsFile, model: VideoMamba) -> None:
    """Raises WeightsError where options that do not show in the tensors differ from the bundle's."""
    if weights_file.bundle is None:
        return
    theirs, ours = weights_file.bundle.config, model.config
    for name in ("scan_order", "merge", "discretization", "pool", "norm_eps"):
        if getattr(theirs, name) != getattr(ours, name):
            raise WeightsError(
                f"{weights_file.source}: has {name}={getattr(theirs, name)!r}, the model has "
                f"{getattr(ours, name)!r}; create the model with the file's value"
            )


class _Plan:
    """The decision about each tensor, one rule a method; `rest` decides about the remaining tensors."""

    def __init__(self, weights_file: WeightsFile, model: VideoMamba) -> None:
        self.weights_file = weights_file
        self.config = model.config
        self.file_keys = trunk_names(weights_file.tensors, source=weights_file.source)
        half = (torch.float16, torch.bfloat16)
        found = {name: weights_file.tensors[key] for name, key in self.file_keys.items()}
        for name in ("norm.weight", *model.state_dict()):
            if name in found and not found[name].is_floating_point():
                kind = str(found[name].dtype).removeprefix("torch.")
                raise WeightsError(
                    f"{weights_file.source}: {self.file_keys[name]} is {kind}, not floating point; "
                    "give the weights before quantization"
                )
        self.open_file = {name: tensor.float() if tensor.dtype in half else tensor for name, tensor in found.items()}
        self.open_model = dict(model.state_dict())
        self.values: dict[str, Tensor] = {}
        self.fates: dict[str, list[KeyReport]] = {fate: [] for fate in FATES}
        self.problems: list[str] = []

    def settle(
        self, fate: str, model_name: str | None, file_name: str | None, value: Tensor | None = None, note: str = ""
    ) -> None:
        """Reports a tensor of either side or of both. The model's tensor becomes `value`; None: it does not change."""
        target = None if model_name is None else self.open_model.pop(model_name)
        found = None if file_name is None else self.open_file.pop(file_name)
        if model_name is not None and value is not None:
            self.values[model_name] = value
        self.fates[fate].append(
            KeyReport(
                model_key=model_name,
                model_shape=None if target is None else tuple(target.shape),
                file_key=None if file_name is None else self.file_keys[file_name],
                file_shape=None if found is None else tuple(found.shape),
                note=note,
            )
        )

    def refuse(self, problem: str, *names: str) -> None:
        """Notes a problem with `names`, which later methods then skip."""
        self.problems.append(problem)
        for name in names:
            self.open_model.pop(name, None)
            self.open_file.pop(name, None)

    def final_norm(self, *, rename: bool, allow_missing: Sequence[str]) -> None:
        """The final norm, which is called `norm` in masked pretraining."""
        if "norm.weight" not in self.open_file or "norm_f.weight" in self.open_file:
            return
        if rename:
            self.settle("converted", "norm_f.weight", "norm.weight", self.open_file["norm.weight"], "renamed")
        elif _matches("norm_f.weight", allow_missing):
            self.settle("ignored", None, "norm.weight", note="rename_norm=True would load it")
        else:
            problem = "its final norm is norm.weight (masked pretraining): pass rename_norm=True to load it"
            advice = "or allow_missing=['norm_f.weight'] to keep the model's norm_f.weight"
            self.refuse(f"{problem}, {advice}", "norm.weight", "norm_f.weight")

    def head(self, *, policy: HeadPolicy, rows: Sequence[int] | None) -> None:
        for key in HEAD:
            value, target = self.open_file.get(key), self.open_model.get(key)
            if target is None:
                if value is not None:
                    self.settle("ignored", None, key, note="the model has no head")
            elif policy == "replace":
                fresh = torch.zeros(target.shape)
                if key == "head.weight":
                    nn.init.trunc_normal_(fresh, std=0.02)
                self.settle("replaced", key, None if value is None else key, fresh, "random")
            elif value is not None and value.ndim and rows is not None:
                self._head_rows(key, value, target, list(rows))
            elif value is not None and value.ndim and len(value) != len(target):
                self._wrong_head(len(value), len(target))

    def _head_rows(self, key: str, value: Tensor, target: Tensor, rows: list[int]) -> None:
        if len(rows) != len(target):
            self._wrong_head(len(rows), len(target))
        elif not 0 <= min(rows) <= max(rows) < len(value):
            self.refuse(f"head_rows is {min(rows)} to {max(rows)}, its head has rows 0 to {len(value) - 1}", *HEAD)
        else:
            self.settle("converted", key, key, value[rows], f"{len(rows)} of {len(value)} rows")

    def _wrong_head(self, found: int, wanted: int) -> None:
        problem = f"its head has {found} classes, the model's {wanted}: pass head='replace' to start a new head"
        self.refuse(f"{problem}, or head_rows to choose rows", *HEAD)

    def patch_kernel(self, mode: Inflation) -> None:
        """2-D kernels, and 3-D ones of one frame, into the model's tubelet."""
        key = "patch_embed.proj.weight"
        value, target = self.open_file.get(key), self.open_model[key]
        if value is None or value.shape == target.shape:
            return
        flat = value.squeeze(2) if value.ndim == 5 else value
        if flat.shape == target[:, :, 0].shape:
            note = mode if target.shape[2] > 1 else ""
            self.settle("inflated", key, key, inflate_patch(flat, target.shape[2], mode), note)

    def positions(self, source_grid: tuple[int, int] | None) -> None:
        """The spatial position table, from the file's grid to the model's."""
        key, target_grid = "pos_embed", self.config.grid[1:]
        value, target = self.open_file.get(key), self.open_model[key]
        if value is None or value.ndim != 3 or value.shape[-1] != target.shape[-1]:
            return
        count, bundle = value.shape[1] - 1, self.weights_file.bundle
        stated = source_grid or (bundle.config.grid[1:] if bundle else None)
        square, same = square_grid(count), target_grid[0] * target_grid[1] == count
        grid = stated or square or (target_grid if same else None)
        released = zoo.entry_for_file(self.weights_file.source) is not None  # and so square
        if grid is None:
            self.refuse(f"pos_embed has {count} patches, not a square: pass source_grid=(height, width)", key)
        elif grid[0] * grid[1] != count:
            self.refuse(f"pos_embed has {count} patches, which is not source_grid {grid[0]}x{grid[1]}", key)
        elif same and grid != target_grid and not (stated or released):
            either = f"{grid[0]}x{grid[1]} or the model's {target_grid[0]}x{target_grid[1]}"
            self.refuse(f"pos_embed has {count} patches, which is {either}: pass source_grid=(height, width)", key)
        elif grid != target_grid:
            note = f"{grid[0]}x{grid[1]} -> {target_grid[0]}x{target_grid[1]}"
            self.settle("resized", key, key, resize_positions(value, grid, target_grid), note)

    def temporal(self) -> None:
        """The temporal embedding; a model of one time step has none."""
        key = "temporal_pos_embedding"
        value, target = self.open_file.get(key), self.open_model.get(key)
        if target is None:
            if value is not None and value.ndim == 3 and value.shape[1] == 1 and value.count_nonzero():
                self.refuse(f"{key} has one slot and it is not zero, which a model of one time step cannot hold", key)
            elif value is not None:
                self.settle("ignored", None, key, note="a model of one time step has none")
        elif value is None:
            self.settle("zero", key, None, torch.zeros(target.shape), "absent from image weights")
        elif value.ndim == 3 and value.shape[1] != target.shape[1] and value.shape[2] == target.shape[2]:
            self.settle("resized", key, key, resize_temporal(value, target.shape[1]))

    def rest(self, *, allow_missing: Sequence[str], allow_unexpected: Sequence[str]) -> None:
        """Equal tensors are loaded; everything else is allowed, ignored, or a problem."""
        different, absent, surplus = [], [], []
        for key, target in list(self.open_model.items()):
            value = self.open_file.get(key)
            if value is None:
                if not _matches(key, allow_missing):
                    absent.append(key)
                self.settle("missing", key, None)
            elif value.shape != target.shape:
                different.append(f"{key} {tuple(value.shape)} instead of {tuple(target.shape)}")
                del self.open_file[key]
            else:
                self.settle("loaded", key, key, value)
        for key in list(self.open_file):
            known = _matches(key, OTHER_PARTS)
            if not known and not _matches(key, allow_unexpected):
                surplus.append(self.file_keys[key])
            self.settle("ignored" if known else "unexpected", None, key)
        if different:
            self.problems.append(f"{len(different)} tensors have another shape: {shortened(different, 2)}")
        if absent:
            advice = ": pass head='replace' to start a new head" if set(absent) == set(HEAD) else ""
            self.problems.append(f"{len(absent)} tensors are missing: {shortened(absent)}{advice}")
        if surplus:
            self.problems.append(f"{len(surplus)} tensors have no place in the model: {shortened(surplus)}")

    def raise_problems(self) -> None:
        if self.problems:
            raise WeightsError(f"{self.weights_file.source}: {self._structure()}{'; '.join(self.problems)}")

    def _structure(self) -> str:
        """How the two networks differ in more than the size of their input and head, e.g. "it holds dim 384, ...; "."""
        tensors = self.weights_file.tensors
        table = tensors.get(self.file_keys.get("pos_embed", ""))
        if table is None or table.ndim != 3:
            return ""
        try:
            found = infer_config(tensors, grid=(1, table.shape[1] - 1), source=self.weights_file.source)
        except WeightsError:
            return ""
        wanted = self.config.model_dump()
        names = ("dim", "depth", "patch_size", "tubelet_size", "expand", "d_state", "d_conv", "num_registers")
        different = [name for name in names if found[name] != wanted[name]]
        theirs = ", ".join(f"{name} {found[name]}" for name in different)
        ours = ", ".join(f"{name} {wanted[name]}" for name in different)
        return f"it holds {theirs}, the model has {ours}; " if different else ""


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
