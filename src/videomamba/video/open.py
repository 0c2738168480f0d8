"""Opens videos: files, folders of images, single images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from videomamba.schema import VideoError
from videomamba.video.base import Video
from videomamba.video.images import ImageVideo
from videomamba.video.pyav import PyavVideo
from videomamba.video.shards import Member, find_member, in_shard

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Backend", "Video", "open_video"]

Backend = Literal["pyav", "torchcodec"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


def open_video(path: str | Path, backend: Backend = "pyav", *, fps: float = 1.0, threads: int | None = None) -> Video:
    """Open a video file, a folder of images (one video, images in natural order: 2 before 10) or an image (one frame).

    A video or image in a tar shard is named `shard.tar::KEY.mp4` (`video.shards`).

    `fps` is the rate of a folder of images; `threads` decode a video file (None: two more than PyTorch uses if that is
    faster). `backend` decodes video files; both return the same pictures, "torchcodec" is an extra to install.

    Raises VideoError, one line that starts with the path, when there is no such file, the folder has no images, or the
    file is empty, no video, or damaged at its start; VideoMambaError when the backend is not installed.
    """
    if in_shard(path):
        return _open_member(find_member(path), backend, threads=threads)
    path = existing(path)
    if path.is_dir():
        images = _images_in(path)
        if not images:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise VideoError(path, f"no images in this folder; give a video file or a folder with {kinds} files")
        return ImageVideo(path, images, fps=fps)
    if not path.is_file():
        raise VideoError(path, "is neither a file nor a folder; give a video file")
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


def _open_member(member: Member, backend: Backend, *, threads: int | None) -> Video:
    if member.size == 0:
        raise VideoError(member, "the file is empty; write the shard again")
    if member.suffix.lower() in IMAGE_SUFFIXES:
        return ImageVideo(member, [member], fps=1.0)
    if backend != "pyav":
        raise VideoError(member, f"the backend {backend} reads no tar shards; use pyav")
    return PyavVideo(member, threads=threads)


def date_and_size(path: str | Path) -> tuple[int, int]:
    """(time of the last change in ns, bytes) of a file or folder; of a file in a shard, the time of the shard.

    Raises VideoError when there is no such file.
    """
    if in_shard(path):
        member = find_member(path)
        return member.shard.stat().st_mtime_ns, member.size
    status = existing(path).stat()
    return status.st_mtime_ns, status.st_size


def exists(path: str | Path) -> bool:
    """Whether there is such a file or folder, or file in a shard."""
    if not in_shard(path):
        return Path(path).exists()
    try:
        find_member(path)
    except VideoError:
        return False
    return True


def existing(path: str | Path) -> Path:
    """`path` as a Path. Raises VideoError when there is no such file or folder, or it cannot be opened."""
    path = Path(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if broken := broken_link(path):
            raise VideoError(path, broken) from None
        raise VideoError(path, "no such file or folder; check the spelling and the current folder") from None
    except OSError as error:  # a name that is too long, a folder without permission
        raise VideoError(path, f"cannot be opened ({error.strerror}); check its name and its permissions") from error
    return path


def broken_link(path: Path) -> str:
    """The reason why the link at `path` cannot be read, "" for a path that is no link or has its target."""
    if not path.is_symlink() or path.exists():
        return ""
    return f"is a link to {path.readlink()}, which is missing; restore that file or remove the link"


def _images_in(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    # A link without its target is a frame too: it fails by its name instead of being left out.
    return sorted((f for f in files if f.is_file() or broken_link(f)), key=natural_order)


def natural_order(path: Path) -> tuple[tuple[tuple[int, str], ...], ...]:
    """Sorts runs of digits as numbers, name by name: clip2/9.jpg, clip2/10.jpg, clip10/1.jpg."""

    def pieces(name: str) -> tuple[tuple[int, str], ...]:
        split = re.split("([0-9]+)", name)
        return tuple((int(piece), piece) if place % 2 else (-1, piece) for place, piece in enumerate(split))

    return tuple(pieces(name) for name in path.parts)
