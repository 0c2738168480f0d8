"""Opens videos (files, folders of images, single images), and finds them in folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from videomamba.schema import VideoError
from videomamba.video.base import Video
from videomamba.video.images import ImageVideo
from videomamba.video.pyav import PyavVideo

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Backend", "Video", "find_videos", "open_video"]

Backend = Literal["pyav", "torchcodec"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)

_NEITHER = "is neither a file nor a folder; give a video file"


def open_video(path: str | Path, backend: Backend = "pyav", *, fps: float = 1.0, threads: int | None = None) -> Video:
    """Open a video file, a folder of images (one video, images in natural order: 2 before 10) or an image (one frame).

    `fps` is the rate of a folder of images; `threads` decode a video file (None: as many as PyTorch uses if that is
    faster). `backend` decodes video files; both return the same pictures, "torchcodec" is an extra to install.

    Raises VideoError, one line that starts with the path, when there is no such file, the folder has no images, or the
    file is empty, no video, or damaged at its start; VideoMambaError when the backend is not installed.
    """
    path = _existing(path)
    if path.is_dir():
        images = _images_in(path)
        if not images:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise VideoError(path, f"no images in this folder; give a video file or a folder with {kinds} files")
        return ImageVideo(path, images, fps=fps)
    if not path.is_file():
        raise VideoError(path, _NEITHER)
    if path.stat().st_size == 0:
        raise VideoError(path, "the file is empty; copy or download it again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageVideo(path, [path], fps=fps)
    if backend == "pyav":
        return PyavVideo(path, threads=threads)
    if backend == "torchcodec":
        from videomamba.video.torchcodec import TorchcodecVideo

        return TorchcodecVideo(path, threads=threads)
    raise ValueError(f"backend must be 'pyav' or 'torchcodec', got {backend!r}")


def find_videos(path: str | Path) -> list[Path]:
    """The videos at `path`: itself if it is a file, else all video files below the folder, sorted by path.

    A folder that holds images, but neither video files nor folders, is one video. Hidden ones are ignored.
    Raises VideoError when there is no such file or folder, or no video in it.
    """
    path = _existing(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise VideoError(path, _NEITHER)
    try:
        found = _videos_below(path, frozenset())
    except OSError as error:
        reason = f"cannot be listed ({error.strerror}: {error.filename}); check its permissions"
        raise VideoError(path, reason) from error
    if not found:
        raise VideoError(path, f"no videos in this folder; files ending in {', '.join(sorted(VIDEO_SUFFIXES))} count")
    return sorted(found, key=_natural)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(path, "no such file or folder; check the spelling and the current folder") from None
    except OSError as error:  # a name that is too long, a folder without permission
        raise VideoError(path, f"cannot be opened ({error.strerror}); check its name and its permissions") from error
    return path


def _videos_below(folder: Path, above: frozenset[Path]) -> list[Path]:
    """`above` are the parent folders: a link back to one of them is not followed."""
    above |= {folder.resolve()}
    entries = [e for e in folder.iterdir() if not e.name.startswith(".")]
    folders = [e for e in entries if e.is_dir()]
    videos = [e for e in entries if e.is_file() and e.suffix.lower() in VIDEO_SUFFIXES]
    if not folders and not videos:
        return [folder] if _images_in(folder) else []
    return videos + [v for below in folders if below.resolve() not in above for v in _videos_below(below, above)]


def _images_in(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    return sorted((f for f in files if f.is_file()), key=_natural)


def _natural(path: Path) -> tuple[tuple[tuple[int, str], ...], ...]:
    """Sorts runs of digits as numbers, name by name: clip2/9.jpg, clip2/10.jpg, clip10/1.jpg."""

    def pieces(name: str) -> tuple[tuple[int, str], ...]:
        split = re.split("([0-9]+)", name)
        return tuple((int(piece), piece) if place % 2 else (-1, piece) for place, piece in enumerate(split))

    return tuple(pieces(name) for name in path.parts)
