"""VideoMamba (arXiv 2403.06977): the whole network on one page.

Shapes: b batch, t frames, h, w picture, T = t / tubelet, p = patches of a frame, l = 1 + registers + T p tokens, d width.
"""

from __future__ import annotations

import contextvars
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomamba.models.config import VideoMambaConfig
from videomamba.modules.block import Block, RMSNorm
from videomamba.modules.embed import PatchEmbed
from videomamba.modules.scan_order import Order, register_slots, take, temporal_order, temporal_orders
from videomamba.ops import dispatch
from videomamba.ops.layout import clear_padding


class VideoMamba(nn.Module):
    """A plain vision transformer whose self-attention is a bidirectional selective scan. An image is a clip of one frame.

    Parameter names are those of the released checkpoints; `temporal_pos_embedding` exists where there is more than one
    time step, so that an image model has exactly the parameters of the released image models.
    """

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        self.config = config
        frames, rows, columns = config.grid
        places, dim = rows * columns, config.dim
        self.patch_embed = PatchEmbed(
            in_channels=3, dim=dim, patch_size=config.patch_size, tubelet_size=config.tubelet_size
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + places, dim))
        if frames > 1:
            self.temporal_pos_embedding = nn.Parameter(torch.empty(1, frames, dim))
        if config.num_registers:
            self.register_tokens = nn.Parameter(torch.empty(1, config.num_registers, dim))
        self.layers = nn.ModuleList(
            Block(
                dim=dim,
                inner_dim=config.inner_dim,
                d_state=config.d_state,
                d_conv=config.d_conv,
                dt_rank=config.dt_rank,
                norm_eps=config.norm_eps,
                drop_path_rate=config.drop_path * i / max(config.depth - 1, 1),
                merge=config.merge,
                discretization=config.discretization,
            )
            for i in range(config.depth)
        )
        self.norm_f = RMSNorm(dim, eps=config.norm_eps)
        self.head_drop = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(dim, config.num_classes) if config.num_classes else nn.Identity()

        self._registers = register_slots(config.num_registers, frames * places)
        # On the CPU whatever the default device is, and no buffers: what `to_empty` makes of those is garbage.
        self._temporal = temporal_order(frames, places, (0, *self._registers))
        self._checkpointed = 0
        self.init_weights()

    def forward(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) normalised -> logits (b, num_classes), or features (b, d) when num_classes is 0.

        `num_frames` (b,) int64 says how many frames of each clip are real; what follows them is padding of any content
        and changes nothing, so that a padded batch gives what its clips give alone. t may then be less than the model's.
        """
        return self.classify(self.forward_features(video, num_frames))

    def classify(self, features: Tensor) -> Tensor:
        """(b, d) features -> logits (b, num_classes), or the features where there is no head."""
        logits: Tensor = self.head(self.head_drop(features).to(self._head_dtype))
        return logits

    def forward_features(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, d): the class token after the final norm, or the mean of the patch tokens."""
        if self.config.pool == "mean":
            patches = self.forward_tokens(video, num_frames)[:, 1:]
            if num_frames is None:
                return patches.mean(dim=1)
            return patches.sum(dim=1) / (self._lengths(video, num_frames)[:, None] - 1)
        features: Tensor = self.norm_f(self._trunk(video, num_frames)[:, 0])
        return features

    def forward_tokens(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, 1 + T p, d) after the final norm: class token, then patches in spatial-first order.

        Tokens of padding are 0.
        """
        tokens: Tensor = self.norm_f(self._trunk(video, num_frames))
        if num_frames is not None:
            return clear_padding(tokens, self._lengths(video, num_frames))
        pieces, start = [], 0
        for slot in self._registers:
            pieces.append(tokens[:, start:slot])
            start = slot + 1
        return torch.cat((*pieces, tokens[:, start:]), dim=1) if pieces else tokens

    def checkpoint_activations(self, first_blocks: int) -> None:
        """In training the first blocks keep only what they are given and run again in the backward pass; 0: none.

        Results and gradients stay what they are; memory for activations shrinks by the share of these blocks, and a step
        takes their forward pass longer. Raises ValueError when there are not so many blocks.
        """
        if not 0 <= first_blocks <= len(self.layers):
            raise ValueError(f"first_blocks must lie between 0 and the depth {len(self.layers)}, got {first_blocks}")
        self._checkpointed = first_blocks

    def embed(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, l, d) fp32: class token first, patches spatial-first with their positions, registers."""
        self._check(video, num_frames)
        steps = video.shape[2] // self.config.tubelet_size
        temporal = self.temporal_pos_embedding[:, :steps] if self.config.grid[0] > 1 else None
        patches = self.embed_patches(video, temporal)
        cls = self.embed_class().expand(video.shape[0], -1, -1)
        tokens = torch.cat((cls, patches.flatten(1, 2)), dim=1).float()
        if self._registers:
            pieces, start = [], 0
            for i, slot in enumerate(self._registers):
                pieces += [
                    tokens[:, start : slot - i],
                    self.register_tokens[:, i : i + 1].expand(tokens.shape[0], -1, -1),
                ]
                start = slot - i
            tokens = torch.cat((*pieces, tokens[:, start:]), dim=1)
        return tokens

    def embed_class(self) -> Tensor:
        """(1, 1, d): the class token in its place, which is none in time."""
        return self.cls_token + self.pos_embed[:, :1]

    def embed_patches(self, video: Tensor, temporal: Tensor | None) -> Tensor:
        """(b, 3, t, h, w) -> (b, T, p, d) with their positions in the picture and, where given, in time, (1, T, d)."""
        patches: Tensor = self.patch_embed(video) + self.pos_embed[:, 1:].unsqueeze(1)
        return patches if temporal is None else patches + temporal.unsqueeze(2)

    def _trunk(self, video: Tensor, num_frames: Tensor | None) -> Tensor:
        """(b, 3, t, h, w) -> residual stream (b, l, d) fp32 after the last block, in the order of `embed`."""
        residual = self.embed(video, num_frames)
        lengths, temporal = None, self._temporal
        if num_frames is not None:
            lengths = self._lengths(video, num_frames)
            if self.config.scan_order != "spatial_first":
                steps = (num_frames // self.config.tubelet_size).tolist()
                temporal = temporal_orders(steps, self.pos_embed.shape[1] - 1, residual.shape[1])
        temporal = (temporal[0].to(residual.device), temporal[1].to(residual.device))
        scan_order, depth = self.config.scan_order, self.config.depth
        # Blocks from `switch` on see temporal-first tokens; the permutation is applied once, not in every block.
        switch = self.config.temporal_from
        orders = (None, temporal) if scan_order == "spatiotemporal_v2" else (None,)
        recomputed = self._checkpointed if self.training and torch.is_grad_enabled() else 0
        with dispatch.reused_buffers():
            for i, layer in enumerate(self.layers):
                if i == switch:
                    residual = take(residual, temporal[0])
                call = partial(_recomputed, layer) if i < recomputed else layer
                residual = call(residual, orders, lengths)
        return take(residual, temporal[1]) if switch < depth else residual

    def _lengths(self, video: Tensor, num_frames: Tensor) -> Tensor:
        """(b,): the tokens of each clip that are not padding."""
        return 1 + (num_frames // self.config.tubelet_size).to(video.device) * (self.pos_embed.shape[1] - 1)

    def _check(self, video: Tensor, num_frames: Tensor | None) -> None:
        config = self.config
        expected = (3, config.num_frames, *config.image_size)
        fits = video.ndim == 5 and (video.shape[1], *video.shape[3:]) == (3, *config.image_size)
        if num_frames is None and not (fits and video.shape[2] == config.num_frames):
            raise ValueError(
                f"video must be (b, 3, t, h, w) = (b, {', '.join(map(str, expected))}), got {tuple(video.shape)}; "
                "create the model with that num_frames and image_size and load the weights into it"
            )
        if num_frames is None:
            return
        if not (fits and video.shape[2] <= config.num_frames and video.shape[2] % config.tubelet_size == 0):
            raise ValueError(
                f"video must be (b, {', '.join(map(str, expected))}) or, with num_frames, of fewer frames, in whole "
                f"tubelets of {config.tubelet_size}; got {tuple(video.shape)}"
            )
        if self._registers:
            raise ValueError(
                "num_frames: registers stand evenly among all tokens, so their model takes no padded clips"
            )
        if not isinstance(num_frames, Tensor) or num_frames.shape != video.shape[:1] or num_frames.dtype != torch.int64:
            raise ValueError(f"num_frames must be ({video.shape[0]},) int64, one count for each clip; got {num_frames}")
        if not torch.compiler.is_compiling():
            bad = (num_frames < 1) | (num_frames > video.shape[2]) | (num_frames % config.tubelet_size != 0)
            if bad.any():
                raise ValueError(
                    f"num_frames must lie between 1 and {video.shape[2]}, in whole tubelets of {config.tubelet_size}; "
                    f"got {num_frames.tolist()}"
                )

    @property
    def _head_dtype(self) -> torch.dtype:
        return self.head.weight.dtype if isinstance(self.head, nn.Linear) else torch.float32

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draws every parameter from PyTorch's global generator.

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

        "fan_in" is for widths below the paper's: with a std of 0.02 a width of 128 starts B, C and u so small that the scan
        adds next to nothing.

        The last two rows are Mamba's. The original overwrites them by accident with the first row (bias 0, a step of
        0.69 for every channel); its released weights were trained from there, which loading them does not need.
        """
        config = self.config
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv1d | nn.Conv3d):
                module.reset_parameters()
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
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
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.zeros_(self.cls_token)
        if config.grid[0] > 1:
            nn.init.zeros_(self.temporal_pos_embedding)
        if config.num_registers:
            nn.init.trunc_normal_(self.register_tokens, std=0.02)
        if config.init == "fan_in":
            for name in ("pos_embed", "temporal_pos_embedding", "register_tokens"):
                if hasattr(self, name):
                    nn.init.normal_(getattr(self, name), std=0.2)


def _recomputed(layer: nn.Module, residual: Tensor, orders: tuple[Order, ...], lengths: Tensor | None) -> Tensor:
    """What `layer` gives; for the backward pass it runs again, with the same draws of drop path."""
    # A backward pass on a GPU has its own thread, in which the backend that is forced here would not be.
    run = layer if torch.compiler.is_compiling() else partial(contextvars.copy_context().run, layer)
    result: Tensor = checkpoint(run, residual, orders, lengths, use_reentrant=False)
    return result
