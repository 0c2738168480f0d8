"""Opens a file, an address or a device with FFmpeg, whichever PyAV is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import av
from av.container import InputContainer

# Tags may hold bytes that are not UTF-8. PyAV 19 keeps them as surrogate escapes; before it, strict decoding was the default.
_LENIENT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}


def open_container(
    source: str | BinaryIO,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> InputContainer:
    """What `av.open(source)` opens for reading, also where its tags are not valid UTF-8.

    `format` None lets FFmpeg recognise the format; `timeout` is in seconds, for opening and for each read.
    Raises what `av.open` raises.
    """
    container: InputContainer = av.open(source, format=format, options=dict(options or {}), timeout=timeout, **_LENIENT)
    return container
