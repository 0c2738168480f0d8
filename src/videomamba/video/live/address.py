"""Sources of live video: pipes, files, network addresses and cameras, and how FFmpeg opens each."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av.device

from videomamba.schema import VideoError

# The protocols that a source may open. A playlist or a redirect can name any address, so none of these is "file".
_PROTOCOLS = {
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "https": "http,https,httpproxy,tcp,tls,crypto",
    "rtsp": "rtsp,rtp,srtp,udp,tcp,tls",
    "rtsps": "rtsp,rtp,srtp,udp,tcp,tls",
    "tcp": "tcp",
    "udp": "udp",
}

# RTSP over UDP loses packets on a busy network; for a camera without TCP, FFmpeg still tries UDP afterwards.
_OPTIONS = {"rtsp": {"rtsp_flags": "prefer_tcp"}, "rtsps": {"rtsp_flags": "prefer_tcp"}}

_SECRET = re.compile(r"([?&][^=&#]*(?:use|usr|pas|pwd|token|key|auth|sig|secret)[^=&#]*=)[^&#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """How FFmpeg opens a source. `shown` is its name without passwords, the only form that may be printed.

    `network` sources may break off and resume. `recorded` sources deliver pictures as fast as they are read.
    """

    shown: str
    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    recorded: bool = False


def parse_address(source: str, *, follow: bool = False, platform: str = sys.platform) -> Address:
    """Reads "-" (standard input), scheme://..., /dev/videoN, camera:N or camera:NAME, or the name of a file or named pipe.

    `follow` is for a file that is still being written. Raises VideoError for an unsupported scheme, or a file or device
    that does not exist.
    """
    if source == "-":
        if sys.stdin is not None and sys.stdin.isatty():
            raise VideoError("-", "standard input is a terminal; pipe a video into the command")
        return Address("standard input", "pipe:0", options={"protocol_whitelist": "pipe"})
    if source.startswith("camera:"):
        return _camera(source, source.removeprefix("camera:"), platform)
    if re.fullmatch(r"/dev/video[0-9]+", source):
        return _video4linux(source, source)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    if scheme is None:
        return _file(source, follow)
    name = scheme[1].lower()
    shown = mask_secrets(source)
    if name not in _PROTOCOLS:
        kinds = ", ".join(f"{known}://" for known in _PROTOCOLS)
        raise VideoError(shown, f"{name}:// cannot be watched; give {kinds}, a file, a camera or - for a pipe")
    options = {"protocol_whitelist": _PROTOCOLS[name], **_OPTIONS.get(name, {})}
    return Address(shown, name + source[len(name) :], options=options, network=True)


def mask_secrets(url: str) -> str:
    """`url` with user, password, and the users, passwords, tokens and keys of its query replaced by ***."""
    # Up to the last @, because a password may contain a slash by mistake.
    return _SECRET.sub(r"\1***", re.sub(r"(?<=://).+@", "***@", url))


def _file(source: str, follow: bool) -> Address:
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(source, f"cannot be opened ({reason}); give a file, an address, a camera or -") from None
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise VideoError(source, "is not a file; give a file, an address, a camera or - for a pipe")
    options = {"protocol_whitelist": "file"} | ({"follow": "1"} if follow else {})
    return Address(source, f"file:{source}", options=options, recorded=stat.S_ISREG(mode) and not follow)


def _camera(source: str, name: str, platform: str) -> Address:
    if platform.startswith("linux"):
        return _video4linux(source, f"/dev/video{name}" if name.isdecimal() else name)
    if platform == "darwin":
        # Apple's cameras reject its default of 29.97 pictures per second.
        return Address(source, name, "avfoundation", {"framerate": "30"})
    if platform == "win32":
        return Address(source, f"video={_directshow_name(source, name)}", "dshow")
    raise VideoError(source, f"cameras are not supported on {platform}; pipe the video in and give -")


def _video4linux(source: str, device: str) -> Address:
    if not Path(device).exists():
        present = ", ".join(sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))) or "none"
        raise VideoError(source, f"no such camera ({device}); present: {present}")
    return Address(source, device, "v4l2")


def _directshow_name(source: str, name: str) -> str:
    if not name.isdecimal():
        return name
    cameras = [d.name for d in av.device.enumerate_input_devices("dshow") if "video" in d.media_types]
    if int(name) >= len(cameras):
        raise VideoError(source, f"no such camera; present: {', '.join(cameras) or 'none'}")
    return cameras[int(name)]
