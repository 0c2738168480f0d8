"""Loading any released or trained weights into a VideoMamba, with a report on every tensor of both.

No tensor stays random unless the caller requests it: a difference that no documented conversion covers is an error,
raised before the model is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import WeightsError
from videomamba.weights.convert import UNSEEN, Inflation
from videomamba.weights.plan import HeadPolicy, Plan
from videomamba.weights.read import WeightsFile, read_weights, weights_and_target
from videomamba.weights.report import LoadReport


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
    resized (bicubic), the temporal embedding is resized (linear), zero when the file is of one frame, or, for a model of
    one time step, added to the positions.

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
    weights, target = weights_and_target(weights, model, read_weights)
    _same_network(weights, model)
    plan = Plan(weights, model)
    plan.final_norm(rename=rename_norm, allow_missing=allow_missing)
    plan.head(policy=head, rows=head_rows)
    plan.patch_kernel(inflation)
    plan.positions(source_grid)
    plan.temporal(of_texts=weights.content != "network")
    plan.rest(allow_missing=allow_missing, allow_unexpected=allow_unexpected)
    plan.raise_problems()

    with torch.no_grad():
        for key, value in plan.values.items():
            target[key].copy_(value)
    fates = {fate: tuple(entries) for fate, entries in plan.fates.items()}
    return LoadReport(weights.source, **fates, assumed=_assumed(weights, model.config))


def _assumed(weights_file: WeightsFile, config: VideoMambaConfig) -> str:
    if weights_file.bundle is not None:
        return ""
    if weights_file.entry is None:
        listed = ", ".join(f"{name} {getattr(config, name)}" for name in UNSEEN)
        return f"{listed}, as in the model; the file does not say how it was trained"
    fields = VideoMambaConfig.model_fields
    different = [name for name in UNSEEN if getattr(config, name) != fields[name].default]
    listed = ", ".join(f"{name} {getattr(config, name)} instead of {fields[name].default}" for name in different)
    return f"{listed}, with which the released network was trained" if listed else ""


def _same_network(weights_file: WeightsFile, model: VideoMamba) -> None:
    """Raises WeightsError where options that do not show in the tensors differ from the bundle's."""
    if weights_file.bundle is None:
        return
    theirs, ours = weights_file.bundle.config, model.config
    for name in UNSEEN:
        if getattr(theirs, name) != getattr(ours, name):
            raise WeightsError(
                f"{weights_file.source}: has {name}={getattr(theirs, name)!r}, the model has "
                f"{getattr(ours, name)!r}; create the model with the file's value, or build the file's own network with "
                f"videomamba.from_pretrained({weights_file.source!r})"
            )
