"""How a network starts.

| parameter | start |
|---|---|
| linear weights, pos_embed, register_tokens | normal, std 0.02; biases 0 |
| with init="fan_in": in_proj, x_proj, x_proj_b | U(+-1/sqrt(fan_in)) |
| with init="fan_in": pos_embed, temporal_pos_embedding, register_tokens | normal, std 0.2 |
| cls_token, temporal_pos_embedding | 0 |
| patch_embed.proj, conv1d, conv1d_b | PyTorch's default, U(+-1/sqrt(fan_in)) |
| out_proj.weight | U(+-1/sqrt(e)) / sqrt(depth) |
| A_log, A_b_log | log(1..n) in every row: A = -1..-n |
| D, D_b, norms | 1 |
| dt_proj.weight, dt_proj_b.weight | U(+-r^-0.5) |
| dt_proj.bias, dt_proj_b.bias | softplus^-1(dt), dt log-uniform in [1e-3, 1e-1], at least 1e-4 |

"fan_in" is for widths below the paper's: with a std of 0.02 a width of 128 starts B, C and u so small that the scan adds
next to nothing.

The text tower and the projections of video and text start as BERT does: weights and embeddings normal, std 0.02; biases 0;
norms 1 and 0 (`init_text`).

The last two rows are Mamba's. The original overwrites them by accident with the first row (bias 0, a step of 0.69 for
every channel); its released weights were trained from that start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videomamba.models.config import VideoMambaConfig
from videomamba.modules.block import RMSNorm

Network = TypeVar("Network", bound=nn.Module)


def new_head(like: torch.Tensor, num_classes: int) -> nn.Linear:
    """A head for features (..., d) with the width, dtype and device of `like`, drawn like those of new networks."""
    head = nn.Linear(like.shape[-1], num_classes, device="meta", dtype=like.dtype).to_empty(device=like.device)
    init_linear(head)
    return head


def init_linear(module: nn.Linear) -> None:
    """Draws the weight from PyTorch's global generator, std 0.02, and sets the bias to 0."""
    nn.init.trunc_normal_(module.weight, std=0.02)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def init_parameters(model: nn.Module, config: VideoMambaConfig) -> None:
    """Draws every parameter of a VideoMamba from PyTorch's global generator; none on the meta device, which has no values."""
    embeddings = dict(model.named_parameters(recurse=False))
    if embeddings["pos_embed"].is_meta:
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv3d):
            module.reset_parameters()
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear):
            init_linear(module)
        if config.init == "fan_in" and name.endswith(("in_proj", "x_proj", "x_proj_b")):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif name.endswith("out_proj"):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            module.weight /= math.sqrt(config.depth)
        elif name.endswith(("dt_proj", "dt_proj_b")):
            nn.init.uniform_(module.weight, -(config.dt_rank**-0.5), config.dt_rank**-0.5)
            log_dt = torch.empty_like(module.bias).uniform_(math.log(1e-3), math.log(1e-1))
            dt = torch.exp(log_dt).clamp(min=1e-4)
            module.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        elif name.endswith("mixer"):
            for A_log in (module.A_log, module.A_b_log):
                A_log.copy_(torch.log(torch.arange(1, config.d_state + 1, dtype=torch.float32)).expand_as(A_log))
            nn.init.ones_(module.D)
            nn.init.ones_(module.D_b)
    nn.init.trunc_normal_(embeddings["pos_embed"], std=0.02)
    for name, parameter in embeddings.items():
        if name in ("cls_token", "temporal_pos_embedding"):
            nn.init.zeros_(parameter)
    if "register_tokens" in embeddings:
        nn.init.trunc_normal_(embeddings["register_tokens"], std=0.02)
    if config.init == "fan_in":
        for name in ("pos_embed", "temporal_pos_embedding", "register_tokens"):
            if name in embeddings:
                nn.init.normal_(embeddings[name], std=0.2)


@torch.no_grad()
def init_text(model: nn.Module) -> None:
    """Draws linear layers and embeddings of a text tower from PyTorch's global generator; none on the meta device."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding) and not module.weight.is_meta:
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


class _WithoutInitialisation(TorchFunctionMode):
    """Calls of torch.nn.init do nothing. On the meta device one of them would import PyTorch's compiler, a second of work."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return function(*args, **(kwargs or {}))


def undrawn(make: Callable[[], Network]) -> Network:
    """The network that `make` constructs, with parameters of any values: none is drawn."""
    with torch.device("meta"), _WithoutInitialisation():
        model = make()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            values = torch.empty(parameter.shape, dtype=parameter.dtype)
            setattr(module, name, nn.Parameter(values, requires_grad=parameter.requires_grad))
    return model
