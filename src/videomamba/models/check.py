"""Checks that the inputs of a network fit it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from videomamba.models.config import VideoMambaConfig
from videomamba.ops import dispatch

_BRIGHT = 32.0
"""Above every normalised pixel: with the statistics of ImageNet the largest is 2.7."""
_NORMALISE = (
    "normalise it by the model's Preprocess, (video / 255 - mean) / std for each channel, as `Predictor.clips` does"
)


def check_pixels(video: Tensor) -> None:
    """Raises TypeError for no tensor, ValueError for pixels 0..255 (b, 3, t, h, w) where the network expects them normalised.

    Of integers always. Floating point is recognised by a few hundred pixels of the first clip, on a CPU and where no graph is
    traced: reading a value elsewhere would wait for the device, or become part of the graph.
    """
    if not isinstance(video, Tensor):
        raise TypeError(
            f"video must be a tensor (b, 3, t, h, w), got {type(video).__name__}; torch.as_tensor makes one"
        )
    if not video.dtype.is_floating_point:
        kind = str(video.dtype).removeprefix("torch.")
        raise ValueError(f"video must be floating point and normalised, got {kind}; {_NORMALISE}")
    traced = torch.compiler.is_compiling() or is_in_torch_dispatch_mode() or dispatch.is_transformed((video,))
    if traced or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    if video.ndim != 5 or type(video) is not Tensor or video.device.type != "cpu":
        return
    with torch.no_grad():
        seen = video[:1, :, :, ::16, ::16]
        if seen.numel() and seen.min() >= 0 and seen.max() > _BRIGHT:
            raise ValueError(
                f"video has pixels from 0 to 255 ({seen.max():g} among them), not normalised ones; {_NORMALISE}"
            )


def _advice(video: Tensor) -> str:
    if video.ndim == 4:
        return "add the dimension of the clips: video[None]"
    if video.ndim == 5 and video.shape[1] != 3:
        return "its three channels come before time, height and width"
    return "create the model with that num_frames and image_size and load the weights into it"


def check_video(config: VideoMambaConfig, video: Tensor, num_frames: Tensor | None) -> None:
    """Raises ValueError unless video (b, 3, t, h, w) and, with padding, num_frames (b,) int64 are of the config's clips."""
    check_pixels(video)
    size = ", ".join(map(str, (3, config.num_frames, *config.image_size)))
    fits = video.ndim == 5 and (video.shape[1], *video.shape[3:]) == (3, *config.image_size)
    if num_frames is None:
        if not (fits and video.shape[2] == config.num_frames):
            raise ValueError(f"video must be (b, 3, t, h, w) = (b, {size}), got {tuple(video.shape)}; {_advice(video)}")
        return
    tubelet = config.tubelet_size
    if not (fits and video.shape[2] <= config.num_frames and video.shape[2] % tubelet == 0):
        raise ValueError(
            f"video must be (b, {size}) or, with num_frames, of fewer frames, in whole tubelets of {tubelet}; "
            f"got {tuple(video.shape)}"
        )
    if config.num_registers:
        raise ValueError("num_frames: a model with registers, which are spread over all tokens, takes no padded clips")
    if not isinstance(num_frames, Tensor) or num_frames.shape != video.shape[:1] or num_frames.dtype != torch.int64:
        raise ValueError(f"num_frames must be ({video.shape[0]},) int64, one count for each clip; got {num_frames}")
    if not torch.compiler.is_compiling():
        bad = (num_frames < 1) | (num_frames > video.shape[2]) | (num_frames % tubelet != 0)
        if bad.any():
            raise ValueError(
                f"num_frames must lie between 1 and {video.shape[2]}, in whole tubelets of {tubelet}; "
                f"got {num_frames.tolist()}"
            )


def check_tokens(
    config: VideoMambaConfig, tokens: Tensor, order: tuple[Tensor, Tensor] | None, lengths: Tensor | None
) -> None:
    """Raises ValueError unless tokens is (b, s, d), `order`, where given, a permutation of s tokens and its inverse, and
    `lengths` (b,) int64, 1 to s; without an order, a temporal-first scan needs complete time steps behind the class token."""
    if tokens.ndim != 3 or tokens.shape[2] != config.dim:
        raise ValueError(f"tokens must be (b, s, {config.dim}), got {tuple(tokens.shape)}")
    shapes = (tokens.shape[1:2], tokens.shape[:2])
    for indices in order or ():
        if indices.shape not in shapes or indices.dtype != torch.int64:
            raise ValueError(
                f"orders must be (order, inverse), each (s,) or (b, s) int64 for tokens {tuple(tokens.shape)}; "
                f"got {tuple(indices.shape)} of {indices.dtype}"
            )
    batch, length, _ = tokens.shape
    if lengths is not None and (
        not isinstance(lengths, Tensor) or lengths.shape != (batch,) or lengths.dtype != torch.int64
    ):
        raise ValueError(f"lengths must be ({batch},) int64, one count of tokens for each entry; got {lengths}")
    if torch.compiler.is_compiling():  # what follows depends on values
        return
    if order is not None and all(indices.device.type == "cpu" for indices in order):  # a GPU would be waited for
        first, inverse = order
        if not ((first.sort(-1).values == torch.arange(length)).all() and (first.argsort(-1) == inverse).all()):
            raise ValueError(f"orders must be a permutation of the {length} tokens and its inverse")
    if lengths is None:
        return
    _, rows, columns = config.grid
    steps = order is None and config.scan_order != "spatial_first"
    if ((lengths < 1) | (lengths > length)).any() or (steps and ((lengths - 1) % (rows * columns) != 0).any()):
        whole = f", each 1 and a multiple of the {rows * columns} patches of a time step" if steps else ""
        raise ValueError(f"lengths must lie between 1 and {length}{whole}; got {lengths.tolist()}")
