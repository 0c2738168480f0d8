"""Pictures: the frames or the clip that the model saw as one image, small ones, PNG and JPEG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.files import write_atomically
from videomamba.schema import Clip, Frames, Preprocess


def contact_sheet(pictures: Frames | Clip, *, columns: int, preprocess: Preprocess | None = None) -> Tensor:
    """All pictures in one, row by row in time order, the rest of the last row black: (rows h, columns w, 3) uint8 RGB.

    A Clip needs the Preprocess that it was made with, to undo the normalisation.
    Raises ValueError if it is missing, for columns < 1 or no pictures.
    """
    if isinstance(pictures, Clip):
        if preprocess is None:
            raise ValueError("a Clip is normalised: give the Preprocess that it was made with")
        data = pixels_of(pictures, preprocess)
    else:
        data = pictures.data
    t, h, w, _ = data.shape
    if columns < 1 or t < 1:
        raise ValueError(f"cannot arrange {t} pictures in {columns} columns")
    columns = min(columns, t)
    rows = -(-t // columns)
    sheet = torch.zeros((rows * columns, h, w, 3), dtype=torch.uint8)
    sheet[:t] = data
    return sheet.view(rows, columns, h, w, 3).transpose(1, 2).reshape(rows * h, columns * w, 3)


def pixels_of(clip: Clip, preprocess: Preprocess) -> Tensor:
    """The pictures (t, h, w, 3) uint8 RGB of a clip that was made with `preprocess`, on the CPU."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (preprocess.mean, preprocess.std))
    pixels = (clip.data.float().cpu() * std + mean) * 255
    return pixels.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 3, 0)


def write_png(path: str | Path, picture: Tensor) -> None:
    """Write `picture` (h, w, 3) uint8 RGB as a PNG file, completely or not at all.

    Raises ValueError for another shape or dtype, VideoMambaError when the file cannot be written.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != torch.uint8 or picture.numel() == 0:
        raise ValueError(f"a picture is (h, w, 3) uint8, got {tuple(picture.shape)} {picture.dtype}")
    frame = av.VideoFrame.from_ndarray(picture.contiguous().cpu().numpy(), format="rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "rgb24"
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    write_atomically(Path(path), lambda target: target.write_bytes(data))


def shrunk(picture: Tensor, *, height: int) -> Tensor:
    """`picture` (H, W, 3) uint8 at most `height` pixels high, with its aspect: (h, w, 3) uint8, areas averaged."""
    height = min(height, picture.shape[0])
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    small = F.interpolate(picture.permute(2, 0, 1)[None].float(), (height, width), mode="area")[0]
    return small.permute(1, 2, 0).round().to(torch.uint8)


def encode_jpeg(picture: Tensor, *, quality: int = 5) -> bytes:
    """The JPEG of `picture` (h, w, 3) uint8 RGB, h and w even. `quality` is FFmpeg's scale, 2 the best, 31 the worst."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.numpy()), format="rgb24").reformat(
        format="yuvj420p"
    )
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.options = {"qmin": str(quality), "qmax": str(quality)}
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def decode_jpeg(data: bytes) -> Tensor:
    """The picture (h, w, 3) uint8 RGB in `data`, which `encode_jpeg` wrote."""
    with av.open(BytesIO(data), "r", format="mjpeg") as container:
        return torch.from_numpy(next(container.decode(video=0)).to_ndarray(format="rgb24"))
