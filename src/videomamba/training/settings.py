"""Settings of the optimisation, of a loss and of the run around them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from videomamba.schema import Settings

Distance = Literal["l2", "mse", "smooth_l1"]
"""Between features of unit length: squared distance (2 - 2 cos), or the mean over channels of its elements or of smooth L1."""


class Optimisation(Settings):
    """AdamW with linear warm-up and cosine, by step. Rates are those of the original, before scaling.

    The peak rate is `lr * batch_size * repeats / lr_reference` (the linear scaling rule, arXiv 1706.02677). With `scale_all`
    the rule also holds for `min_lr` and `warmup_lr`; `lr_reference` 0 turns it off.
    """

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=64, ge=1, description="videos in a step, over all processes and accumulation")
    lr: float = Field(default=2e-4, gt=0)
    min_lr: float = Field(default=1e-6, ge=0)
    warmup_lr: float = Field(default=1e-6, ge=0)
    warmup_epochs: float = Field(default=5, ge=0)
    lr_reference: int = Field(default=256, ge=0)
    scale_all: bool = Field(default=True, description="min_lr and warmup_lr follow the linear scaling rule too")
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="rate of a layer over that of the next; 1 is off")
    layer_decay_mode: Literal["true", "legacy"] = Field(
        default="true",
        description="legacy: full rate for blocks, nearly frozen embeddings, as for the released weights",
    )
    no_decay: Literal["mamba", "legacy"] = Field(
        default="mamba", description="mamba: A_log and D are not decayed; legacy: A_log is, as in the released weights"
    )
    clip_grad: float | None = Field(default=None, gt=0, description="largest norm of the gradient of all parameters")
    ema: float | None = Field(default=None, gt=0, lt=1, description="decay of an average of the weights to evaluate")


class Run(Settings):
    """The folder and the machine of a run, and how often it saves and evaluates."""

    out: Path = Field(default=Path("runs/train"), description="folder of the run")
    seed: int = Field(default=0, ge=0, description="seed of all random draws")
    device: str = Field(default="auto", description="cpu, cuda, mps; auto: the best available")
    strategy: Literal["auto", "ddp", "fsdp"] = Field(default="auto", description="of several processes (torchrun)")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of the matrix products; weights stay fp32")
    micro_batch: int | None = Field(default=None, ge=1, description="videos in a forward pass; default: all of a step")
    recompute_blocks: int = Field(
        default=0,
        ge=0,
        description="first blocks whose activations are recomputed in the backward pass, to save memory",
    )
    resume: bool = Field(default=True, description="resume from the last checkpoint in `out`, if there is one")
    checkpoint_minutes: float = Field(
        default=1.0, ge=0, description="minutes between checkpoints; more where writing them takes over 5 % of the time"
    )
    checkpoint_steps: int | None = Field(default=None, ge=1, description="also after this many steps")
    keep: int = Field(default=2, ge=1, description="checkpoints to keep; older ones are removed")
    evaluate_every: int = Field(default=1, ge=0, description="epochs between evaluations while training; 0: none")
    max_bad_steps: int = Field(default=5, ge=1, description="steps in a row that are not finite before the run stops")
    max_steps: int | None = Field(default=None, ge=1, description="stop after this many steps, for a trial")
    tensorboard: bool = Field(default=False, description="also write TensorBoard events")
