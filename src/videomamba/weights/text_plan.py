"""The decision about each tensor of a file of video and text, and of such a model, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from videomamba.models.video_tower import VideoTower
from videomamba.schema import WeightsError
from videomamba.weights.plan import Plan
from videomamba.weights.read import WeightsFile
from videomamba.weights.report import FATES, KeyReport, LoadReport, shortened
from videomamba.weights.text_names import DECODER, TEACHER, TIED, VIDEO, WORDS, text_name, text_names

_REASONS = {
    TEACHER: "the teacher of pretraining, which open_teacher reads",
    VIDEO + "clip_decoder.": "the model is not compared with a teacher",
    VIDEO + "pool_norm.": "the model pools no vectors",
    WORDS: "the model predicts no words",
    "text_encoder.bert.pooler.": "a text is the state of its first token, without a pooler",
    "text_encoder.bert.embeddings.position_ids": "the numbers of the positions",
    DECODER: "the model writes no answers",
    "vision_proj.": "the model compares no vectors",
    "text_proj.": "the model compares no vectors",
    "itm_head.": "the model matches no texts",
    "temp": "the model compares no vectors",
}
"""Why a tensor of a file, by the beginning of its name, has no part in a model without the like."""


class TextPlan:
    """Decides about every tensor of `file` and of `model`, whose video tower is a VideoTower called vision_encoder.

    The video tower follows the rules of `Plan`; everything else fits exactly or is a problem. `values` are the new ones of the
    model's tensors. Raises WeightsError, one line for all differences that no rule covers.
    """

    def __init__(self, file: WeightsFile, model: nn.Module, *, allow_missing: Sequence[str] = ()) -> None:
        self.source = file.source
        self.values: dict[str, Tensor] = {}
        self._fates: dict[str, list[KeyReport]] = {fate: [] for fate in FATES}
        self._problems: list[str] = []
        self._keys = text_names(file.tensors, source=file.source)
        self._found = {name: file.tensors[key] for name, key in self._keys.items()}
        structure = self._video_tower(file, model.get_submodule(VIDEO.removesuffix(".")), allow_missing)
        self._rest(model, allow_missing)
        if self._problems:
            raise WeightsError(f"{self.source}: {structure}{'; '.join(self._problems)}")

    def report(self, assumed: str = "") -> LoadReport:
        return LoadReport(
            self.source, **{fate: tuple(entries) for fate, entries in self._fates.items()}, assumed=assumed
        )

    def _video_tower(self, file: WeightsFile, tower: nn.Module, allow_missing: Sequence[str]) -> str:
        """Returns how the towers differ in size, "" where they do not."""
        assert isinstance(tower, VideoTower)
        keys = [key for name, key in self._keys.items() if name.startswith(VIDEO)]
        plan = Plan(WeightsFile(file.source, {key: file.tensors[key] for key in keys}, file.bundle), tower)
        plan.final_norm(rename=True, allow_missing=())
        plan.head(policy="keep", rows=None)
        plan.patch_kernel("center")
        plan.positions(None)
        plan.temporal(of_texts=True)
        plan.rest(allow_missing=[name.removeprefix(VIDEO) for name in allow_missing], allow_unexpected=())
        self.values |= {VIDEO + name: value for name, value in plan.values.items()}
        for fate, entries in plan.fates.items():
            self._fates[fate] += [self._named(entry) for entry in entries]
        self._problems += [f"video tower: {problem}" for problem in plan.problems]
        return plan.structure() if plan.problems else ""

    def _named(self, entry: KeyReport) -> KeyReport:
        if entry.model_key is not None:
            return replace(entry, model_key=VIDEO + entry.model_key)
        name = next(name for name, key in self._keys.items() if key == entry.file_key)
        return replace(entry, note=entry.note or _reason(name))

    def _rest(self, model: nn.Module, allow_missing: Sequence[str]) -> None:
        target = {
            text_name(key): (key, value) for key, value in model.state_dict().items() if not key.startswith(VIDEO)
        }
        found = {name: value for name, value in self._found.items() if not name.startswith(VIDEO)}
        different, absent, surplus = [], [], []
        for name, (own, value) in target.items():
            shape = tuple(value.shape)
            if name not in found:
                self._fates["missing"].append(KeyReport(own, shape, None, None, "the model's value stays"))
                if not any(fnmatchcase(name, pattern) for pattern in allow_missing):
                    absent.append(name)
                continue
            other, key = found.pop(name), self._keys[name]
            self._fates["loaded"].append(KeyReport(own, shape, key, tuple(other.shape)))
            if tuple(other.shape) != shape:
                different.append(f"{key} {tuple(other.shape)} instead of {shape}")
            elif not other.is_floating_point():
                kind = str(other.dtype).removeprefix("torch.")
                self._problems.append(f"{key} is {kind}, not floating point; give the weights before quantization")
            self.values[own] = other
        for name, value in found.items():
            key, reason = self._keys[name], _reason(name)
            if name in TIED and TIED[name] in target:
                reason = f"the same as {TIED[name]}"
                if not _equal(value, self._found.get(TIED[name])):
                    self._problems.append(f"{key} is not {reason}, as it is in a BERT")
            elif not reason:
                surplus.append(key)
            self._fates["ignored" if reason else "unexpected"].append(
                KeyReport(None, None, key, tuple(value.shape), reason)
            )
        if different:
            self._problems.append(f"{len(different)} tensors have another shape: {shortened(different, 2)}")
        if absent:
            advice = ", the head that predicts words" if all(name.startswith(WORDS) for name in absent) else ""
            self._problems.append(f"{len(absent)} tensors are missing{advice}: {shortened(absent)}")
        if surplus:
            self._problems.append(f"{len(surplus)} tensors have no place in the model: {shortened(surplus)}")


def _reason(name: str) -> str:
    return next((reason for part, reason in _REASONS.items() if name.startswith(part)), "")


def _equal(value: Tensor, other: Tensor | None) -> bool:
    return other is None or (value.shape == other.shape and torch.equal(value, other))
