"""Frames of a video file through TorchCodec, an optional extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videomamba.schema import VideoError, VideoMambaError
from videomamba.video.base import Video
from videomamba.video.pyav import PyavVideo

_EXTRA = "pip install 'videomamba[torchcodec]'"


class TorchcodecVideo(Video):
    """A video file. `threads` decode it; None: as many as PyTorch uses.

    PyAV describes the file, TorchCodec decodes the same track in its exact mode. Damage that its decoder conceals is not
    reported. Raises VideoMambaError when TorchCodec is missing; VideoError as PyAV does, or if the two disagree.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        decoder = _decoder_class()
        with PyavVideo(path, threads=threads) as video:
            self.info = video.info
            self.timestamps = video.timestamps
            track = video.track
        if self.info.notes:
            raise VideoError(
                path, f"its packets mislead TorchCodec ({'; '.join(self.info.notes)}); use the pyav backend"
            )
        threads = threads or torch.get_num_threads()
        try:
            self._decoder = decoder(
                str(path), stream_index=track, dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="exact"
            )
        except (RuntimeError, ValueError) as error:
            raise VideoError(path, f"TorchCodec cannot open it ({_line(error)}); use the pyav backend") from error
        count = self._decoder.metadata.num_frames
        if count != self.info.num_frames:
            reason = f"TorchCodec counts {count} frames, PyAV {self.info.num_frames}; use the pyav backend"
            raise VideoError(path, reason)

    def _read(self, rows: dict[int, int], data: torch.Tensor) -> None:
        if not rows:
            return
        wanted = sorted(rows)
        try:
            pictures = self._decoder.get_frames_at(wanted).data
        except (RuntimeError, IndexError) as error:
            reason = f"frames {wanted[0]} to {wanted[-1]} cannot all be decoded ({_line(error)}); re-encode it"
            raise VideoError(self.info.path, reason) from error
        if pictures.shape[1:] != data.shape[1:]:
            sizes = f"{tuple(pictures.shape[1:3])} instead of {tuple(data.shape[1:3])}"
            raise VideoError(self.info.path, f"TorchCodec gives pictures of {sizes}; use the pyav backend")
        for index, picture in zip(wanted, pictures, strict=True):
            data[rows[index]] = picture

    def close(self) -> None:
        self._decoder = None


def _decoder_class() -> Any:
    try:
        from torchcodec.decoders import VideoDecoder
    except ImportError as error:
        raise VideoMambaError(f"the video backend torchcodec is not installed; {_EXTRA}, or use pyav") from error
    except (RuntimeError, OSError) as error:
        reason = f"torchcodec cannot load its FFmpeg libraries ({_line(error)})"
        raise VideoMambaError(f"{reason}; install FFmpeg 4 to 8 and {_EXTRA}, or use pyav") from error
    return VideoDecoder


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
