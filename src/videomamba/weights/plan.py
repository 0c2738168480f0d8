"""The decision about each tensor of a weights file and of a model, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor

from videomamba.models.init import new_head
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.embed import resize_positions, resize_temporal
from videomamba.schema import WeightsError
from videomamba.weights import zoo
from videomamba.weights.convert import OTHER_PARTS, Inflation, infer_config, inflate_patch, square_grid, trunk_names
from videomamba.weights.read import STATE_DICT, WeightsFile
from videomamba.weights.report import FATES, HEAD, KeyReport, shortened

HeadPolicy = Literal["keep", "replace"]


class Plan:
    """One rule a method; `rest` decides about the remaining tensors. `values` are the new ones of the model's tensors, `fates`
    the lists of a LoadReport, and `raise_problems` raises one WeightsError for all differences that no rule covers."""

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
        value, target = self.open_file["norm.weight"], self.open_model["norm_f.weight"]
        if value.shape != target.shape:
            problem = f"norm.weight has shape {tuple(value.shape)} instead of {tuple(target.shape)}"
            self.refuse(problem, "norm.weight", "norm_f.weight")
        elif rename:
            self.settle("converted", "norm_f.weight", "norm.weight", value, "renamed")
        elif _matches("norm_f.weight", allow_missing):
            self.settle("ignored", None, "norm.weight", note="rename_norm=True would load it")
        else:
            problem = "its final norm is norm.weight (masked pretraining): pass rename_norm=True to load it"
            advice = "or allow_missing=['norm_f.weight'] to keep the model's norm_f.weight"
            self.refuse(f"{problem}, {advice}", "norm.weight", "norm_f.weight")

    def head(self, *, policy: HeadPolicy, rows: Sequence[int] | None) -> None:
        fresh: Mapping[str, Tensor] = {}
        if policy == "replace" and self.config.num_classes:
            head = new_head(torch.empty(self.config.dim), self.config.num_classes)
            fresh = dict(zip(HEAD, (head.weight.detach(), head.bias.detach()), strict=True))
        for key in HEAD:
            value, target = self.open_file.get(key), self.open_model.get(key)
            if target is None:
                if value is not None:
                    self.settle("ignored", None, key, note="the model has no head")
            elif policy == "replace":
                self.settle("replaced", key, None if value is None else key, fresh[key], "random")
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

    def temporal(self, *, of_texts: bool) -> None:
        """The temporal embedding; a model of one time step has none, but may hold it in its positions.

        Where the file is `of_texts`, of a model of video and text, it does not: those saw pictures without the embedding.
        """
        key = "temporal_pos_embedding"
        value, target = self.open_file.get(key), self.open_model.get(key)
        if target is None and value is not None:
            if value.ndim != 3 or value.shape[-1] != self.config.dim:
                self.refuse(f"{key} has shape {tuple(value.shape)} instead of (1, slots, {self.config.dim})", key)
            elif of_texts:
                self.settle("ignored", None, key, note="a picture has no place in time")
            elif value.count_nonzero():
                self._one_time_step(key, value)
            else:
                self.settle("ignored", None, key, note="zero, and a model of one time step has none")
        elif target is None:
            return
        elif value is None:
            self.settle("zero", key, None, torch.zeros(target.shape), "absent from image weights")
        elif value.ndim == 3 and value.shape[1] != target.shape[1] and value.shape[2] == target.shape[2]:
            self.settle("resized", key, key, resize_temporal(value, target.shape[1]))

    def _one_time_step(self, key: str, value: Tensor) -> None:
        """Adds the embedding, resized to one slot, to the position of every patch: the original adds both to the patches."""
        table, note = "pos_embed", "temporal embedding added"
        positions = self.values.get(table, self.open_file.get(table))
        if positions is None or positions.shape != (1, 1 + self.config.grid[1] * self.config.grid[2], self.config.dim):
            self.settle("ignored", None, key, note="the file has no positions to add it to")
            return
        summed = torch.cat([positions[:, :1], positions[:, 1:] + resize_temporal(value, 1)], dim=1)
        if table in self.values:
            self.values[table] = summed
            resized = self.fates["resized"]
            resized[:] = [replace(e, note=f"{e.note}, {note}") if e.model_key == table else e for e in resized]
        else:
            self.settle("converted", table, table, summed, note)
        self.settle("converted", None, key, note=f"{value.shape[1]} slots -> 1, added to pos_embed")

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
        if not self.problems:
            return
        source, structure = self.weights_file.source, self.structure()
        own = f"; videomamba.from_pretrained({source!r}) builds the file's own network"
        advice = own if structure and source != STATE_DICT else ""
        raise WeightsError(f"{source}: {structure}{'; '.join(self.problems)}{advice}")

    def structure(self) -> str:
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
