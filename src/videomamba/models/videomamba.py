"""VideoMamba (arXiv 2403.06977): the whole network on one page.

Shapes: b batch, t frames, h, w picture, T = t / tubelet, p = patches of a frame, l = 1 + registers + T p tokens, d width.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Sequence
from functools import partial
from operator import index as as_index
from typing import Self, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomamba.models.check import check_tokens, check_video
from videomamba.models.config import VideoMambaConfig, make_config
from videomamba.models.init import init_parameters, new_head, undrawn
from videomamba.modules.block import Block, RMSNorm
from videomamba.modules.embed import PatchEmbed
from videomamba.modules.mixer import BiMamba
from videomamba.modules.prepared import PreparingModule
from videomamba.modules.scan_order import Order, Permutation, TokenLayout, take, temporal_orders
from videomamba.ops import dispatch
from videomamba.ops.layout import clear_padding


class VideoMamba(nn.Module):
    """A plain vision transformer whose self-attention is a bidirectional selective scan. An image is a clip of one frame.

    `forward(video)` is `classify(pool(encode(embed(video))))`. Parameter names are those of the released weights. Like the
    released image models, a network of one time step has no `temporal_pos_embedding`. A batch without clips has a result
    without rows; it passes no layer, so the layers get no gradient from it.
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
                BiMamba(
                    dim=dim,
                    inner_dim=config.inner_dim,
                    d_state=config.d_state,
                    d_conv=config.d_conv,
                    dt_rank=config.dt_rank,
                    merge=config.merge,
                    discretization=config.discretization,
                ),
                dim=dim,
                norm_eps=config.norm_eps,
                drop_path_rate=config.drop_path * i / max(config.depth - 1, 1),
            )
            for i in range(config.depth)
        )
        self.norm_f = RMSNorm(dim, eps=config.norm_eps)
        self.head_drop = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(dim, config.num_classes) if config.num_classes else nn.Identity()

        self.layout = TokenLayout(frames, places, config.num_registers)
        # On the CPU whatever the default device is, and no buffers: `to_empty` would leave garbage in those.
        self._temporal = self.layout.temporal_order()
        self._recomputed_blocks = 0
        self.init_weights()

    @classmethod
    def without_weights(cls, config: VideoMambaConfig) -> Self:
        """A network whose parameters hold any values, none drawn: for weights that replace them all, as loading does."""
        return undrawn(partial(cls, config))

    def forward(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) normalised -> logits (b, num_classes), or features (b, d) when num_classes is 0.

        `num_frames` (b,) int64 is the number of real frames of each clip. The frames after them are padding of any content,
        so that each clip has the result that it has alone. t may then be less than the model's.
        """
        return self.classify(self.forward_features(video, num_frames))

    def forward_features(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, d): the class token after the final norm, or the mean of the patch tokens."""
        tokens, lengths = self.embed(video, num_frames), self._lengths(num_frames, video.device)
        return self.pool(self.encode(tokens, lengths=lengths), lengths)

    def forward_tokens(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, 1 + T p, d) after the final norm: class token, then patches in spatial-first order.

        Tokens of padding are 0.
        """
        tokens, lengths = self.embed(video, num_frames), self._lengths(num_frames, video.device)
        return self.final_tokens(self.encode(tokens, lengths=lengths), lengths)

    def forward_intermediates(self, video: Tensor, indices: Iterable[int], *, norm: bool = False) -> list[Tensor]:
        """(b, 3, t, h, w) -> for each of `indices` the map (b, T, h / patch, w / patch, d) of patch tokens after that layer.

        Negative indices count from the last layer. With `norm` the final norm is applied to each map: that of layer -1 then
        equals `forward_tokens`. Raises ValueError for a layer that does not exist.
        """
        _, tapped = self.encode(self.embed(video), taps=list(indices))
        size = (video.shape[0], *self.config.grid, self.config.dim)
        maps = [self.layout.patches(tokens).reshape(size) for tokens in tapped]
        return [self.norm_f(patches) for patches in maps] if norm else maps

    def embed(self, video: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, l, d) fp32: class token first, patches spatial-first with their positions, registers."""
        check_video(self.config, video, num_frames)
        steps = video.shape[2] // self.config.tubelet_size
        temporal = self.temporal_pos_embedding[:, :steps] if self.config.grid[0] > 1 else None
        patches = self.embed_patches(video, temporal).flatten(1, 2)
        tokens = torch.cat((self.embed_class().expand(patches.shape[0], -1, -1), patches), dim=1).float()
        if not self.config.num_registers:
            return tokens
        return self.layout.insert(self.register_tokens.expand(patches.shape[0], -1, -1), tokens)

    def embed_class(self) -> Tensor:
        """(1, 1, d): the class token with its position in the picture; it has none in time."""
        return self.cls_token + self.pos_embed[:, :1]

    def embed_patches(self, video: Tensor, temporal: Tensor | None) -> Tensor:
        """(b, 3, t, h, w) -> (b, T, p, d) with their positions in the picture and, where given, in time, (1, T, d)."""
        patches: Tensor = self.patch_embed(video) + self.pos_embed[:, 1:].unsqueeze(1)
        return patches if temporal is None else patches + temporal.unsqueeze(2)

    @overload
    def encode(
        self, tokens: Tensor, orders: Order = None, lengths: Tensor | None = None, taps: None = None
    ) -> Tensor: ...

    @overload
    def encode(
        self, tokens: Tensor, orders: Order = None, lengths: Tensor | None = None, *, taps: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]: ...

    def encode(
        self, tokens: Tensor, orders: Order = None, lengths: Tensor | None = None, taps: Sequence[int] | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The residual stream (b, s, d) fp32 after the last layer, before the final norm, in the order of `tokens`.

        tokens: (b, s, d), those of `embed` or, as in masked pretraining, some of them. lengths: (b,) int64; from token
        lengths[i] on entry i is padding. orders: (order, inverse), each (s,) or (b, s) int64, the temporal-first order of
        `tokens`. None is that of `embed`; `modules.scan_order.visible_order` computes that of visible tokens. A
        spatial-first network does not use it.

        With `taps`, indices of layers (negative ones count from the last), the result is (stream, [(b, s, d) after each of
        these layers]), all in the order of `tokens`. Raises ValueError for shapes that do not fit, a layer that does not
        exist, and an order that is missing.
        """
        check_tokens(self.config, tokens, orders, lengths)
        scan_order, depth = self.config.scan_order, self.config.depth
        wanted = self._layer_indices(taps or ())
        temporal = None if scan_order == "spatial_first" else self._temporal_order(tokens, orders, lengths)
        # Blocks from `switch` on see temporal-first tokens; the permutation is applied once, not in every block.
        switch = self.config.temporal_from
        each = (None, temporal) if scan_order == "spatiotemporal_v2" else (None,)
        recomputed = self._recomputed_blocks if self.training and torch.is_grad_enabled() else 0
        stream, tapped = tokens.float(), {}
        with dispatch.reused_buffers():
            for i, layer in enumerate(self.layers):
                if i == switch:
                    assert temporal is not None
                    stream = take(stream, temporal[0])
                call = partial(_recomputed, layer) if i < recomputed else layer
                stream = (
                    call(stream, each, lengths) if stream.shape[0] else stream
                )  # the operators refuse an empty batch
                if i in wanted:
                    tapped[i] = stream if temporal is None or i < switch else take(stream, temporal[1])
        if temporal is not None and switch < depth:
            stream = take(stream, temporal[1])
        return stream if taps is None else (stream, [tapped[i] for i in wanted])

    def final_tokens(self, stream: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Residual stream (b, l, d) of complete clips -> (b, 1 + T p, d), the result of `forward_tokens`."""
        tokens = clear_padding(self.norm_f(stream), lengths)
        return torch.cat((tokens[:, :1], self.layout.patches(tokens)), dim=1) if self.config.num_registers else tokens

    def pool(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Residual stream (b, s, d) -> (b, d): the class token after the final norm, or the mean of the patch tokens.

        From token lengths[i] on entry i is padding.
        """
        if self.config.pool == "cls":
            features: Tensor = self.norm_f(tokens[:, 0])
            return features
        patches = self.layout.patches(clear_padding(self.norm_f(tokens), lengths))
        return patches.mean(dim=1) if lengths is None else patches.sum(dim=1) / (lengths[:, None] - 1)

    def classify(self, features: Tensor) -> Tensor:
        """(b, d) features -> logits (b, num_classes), or the features where there is no head."""
        dtype = self.head.weight.dtype if isinstance(self.head, nn.Linear) else torch.float32
        logits: Tensor = self.head(self.head_drop(features).to(dtype))
        return logits

    def reset_classifier(self, num_classes: int) -> None:
        """A new head of `num_classes` outputs: weight of std 0.02 from PyTorch's global generator, bias 0; 0 removes the head.

        It has the device and dtype of the class token, and is trainable. Raises ValueError for a negative number, TypeError
        for what is no whole number; the network then stays as it is.
        """
        config = make_config({**self.config.model_dump(), "num_classes": as_index(num_classes)})
        self.head = new_head(self.cls_token, config.num_classes) if num_classes else nn.Identity()
        self.config = config

    def init_weights(self) -> None:
        """Draws every parameter from PyTorch's global generator, see `models.init`; none on the meta device."""
        init_parameters(self, self.config)

    def prepare_constants(self) -> VideoMamba:
        """From now on, calls without gradients keep what they compute from weights alone, such as -exp(A_log). Returns self.

        A weight that PyTorch changes gives new constants. Writes that PyTorch does not count (`parameter.data`, NumPy,
        `torch.distributed`, another process) are seen after `eval()`, `train()` or another call of this method.
        """
        for module in self.modules():
            if isinstance(module, PreparingModule):
                module.prepare_constants()
        return self

    def recompute_activations(self, first_blocks: int) -> None:
        """In training the first blocks keep only their input and run again in the backward pass; 0: none.

        Results and gradients do not change. Memory for activations shrinks by the share of these blocks; a step takes longer
        by their forward pass. Raises ValueError for more blocks than there are.
        """
        if not 0 <= first_blocks <= len(self.layers):
            raise ValueError(f"first_blocks must lie between 0 and the depth {len(self.layers)}, got {first_blocks}")
        self._recomputed_blocks = first_blocks

    def _lengths(self, num_frames: Tensor | None, device: torch.device) -> Tensor | None:
        """(b,): the tokens of each clip that are not padding."""
        if num_frames is None:
            return None
        return 1 + (num_frames // self.config.tubelet_size).to(device) * self.layout.places

    def _temporal_order(self, tokens: Tensor, orders: Order, lengths: Tensor | None) -> Permutation:
        """On the device of the tokens; that of `embed` where `orders` is None."""
        places, length = self.layout.places, tokens.shape[1]
        if orders is None and lengths is not None:
            orders = temporal_orders([(n - 1) // places for n in lengths.tolist()], places, length)
        elif orders is None:
            if length != self.layout.length:
                raise ValueError(
                    f"{length} tokens are not the {self.layout.length} of a clip: give their orders, for visible tokens "
                    "those of modules.scan_order.visible_order"
                )
            orders = self._temporal
        return orders[0].to(tokens.device), orders[1].to(tokens.device)

    def _layer_indices(self, indices: Iterable[int]) -> list[int]:
        depth, indices = len(self.layers), [as_index(i) for i in indices]
        for i in indices:
            if not -depth <= i < depth:
                raise ValueError(f"there is no layer {i}: the indices are {-depth} to {depth - 1}")
        return [i % depth for i in indices]


def _recomputed(layer: nn.Module, residual: Tensor, orders: tuple[Order, ...], lengths: Tensor | None) -> Tensor:
    """The result of `layer`, which runs again in the backward pass, with the same draws of drop path."""
    # A backward pass on a GPU has its own thread, in which the backend would not be forced.
    run = layer if torch.compiler.is_compiling() else partial(contextvars.copy_context().run, layer)
    result: Tensor = checkpoint(run, residual, orders, lengths, use_reentrant=False)
    return result
