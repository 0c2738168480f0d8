"""The plainest possible decode: every packet in file order, one thread, no seeking, the decoder's own order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

from tests.video.clips import Picture


def decode_in_order(path: Path, track: int = 0) -> Iterator[av.VideoFrame]:
    """Every frame of a track as the decoder hands it out, which is the order of presentation.

    An empty packet with a time repeats a picture in AVI; like the ffmpeg program, this skips it.
    """
    with av.open(str(path)) as container:
        stream = container.streams[track]
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            if packet.size or (packet.pts is None and packet.dts is None):
                yield from stream.decode(packet)


def read_in_order(path: Path, track: int = 0) -> list[Picture]:
    """The pictures of `decode_in_order`, RGB."""
    return [frame.to_ndarray(format="rgb24") for frame in decode_in_order(path, track)]
