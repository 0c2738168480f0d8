"""Judges what `open_video` makes of a file that may be damaged, by a plain decode of it.

FFmpeg *reports an error* if it raises one, flags a packet or a frame as corrupt, or logs a message of level "error" or worse
while a single thread opens the file and decodes every packet in file order. Where it reports none, our pictures must be
FFmpeg's, or the file is refused with a VideoError. Where it reports one, any picture will do.

Two more kinds of files are not judged. Of some damaged pictures FFmpeg decodes only a part, and the rest is what was in that
memory before, an earlier picture for example: what it gives depends on when pictures are released. And the display matrix of
some files is damaged: we turn pictures as it asks, the plain decode does not.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from videomamba.schema import VideoError
from videomamba.video.open import open_video

_AT_ONCE = 2**25  # bytes of pictures to read at once: a damaged header may claim any size


@dataclass(frozen=True)
class Answer:
    """What came of a file: digests of its pictures in order, and of a few asked for before (by index); or why it was refused.
    `problem` is a fault of ours, whatever FFmpeg says."""

    pictures: tuple[str, ...] = ()
    early: tuple[tuple[int, str], ...] = ()
    refused: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Plain:
    """A plain decode: digests of its pictures, and the first error that FFmpeg reported."""

    pictures: tuple[str, ...] = ()
    error: str = ""


def _digest(picture: np.ndarray) -> str:
    shape = "x".join(str(side) for side in picture.shape)
    return f"{shape}:{hashlib.blake2b(np.ascontiguousarray(picture).tobytes(), digest_size=12).hexdigest()}"


def ask(path: Path, random: np.random.Generator) -> Answer:
    """Opens the file, asks for a few random pictures, then for all of them."""
    try:
        with open_video(path, threads=int(random.integers(1, 4))) as video:
            problem = _fault_of_times(video.timestamps, video.info.num_frames, video.info.duration)
            count = max(1, _AT_ONCE // (video.info.height * video.info.width * 3))
            few = random.integers(0, video.info.num_frames, min(4, count)).tolist()
            early = [_digest(picture) for picture in video.frames(few).data.numpy()]
            pictures: list[str] = []
            for first in range(0, video.info.num_frames, count):
                indices = range(first, min(first + count, video.info.num_frames))
                pictures += [_digest(picture) for picture in video.frames(indices).data.numpy()]
        return Answer(tuple(pictures), tuple(zip(few, early, strict=True)), problem=problem)
    except VideoError as error:
        text = str(error)
        proper = text.startswith(f"{path}: ") and "\n" not in text
        return Answer(refused=text.removeprefix(f"{path}: "), problem="" if proper else f"message {text!r}")
    except Exception as error:  # the judged claim: no other error comes out
        return Answer(problem=f"{type(error).__name__}: {error}")


def _fault_of_times(times: np.ndarray, count: int, duration: float) -> str:
    if times.shape != (count,) or times[0] != 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        return f"times {times[:5]} ... of {count} pictures"
    if not np.isfinite(duration) or duration < times[-1]:
        return f"duration {duration} with times up to {times[-1]}"
    return ""


def decode_plainly(path: Path) -> Plain:
    """One thread: capturing FFmpeg's messages may deadlock with more."""
    av.logging.set_skip_repeated(False)  # else the second file with the same error seems to have none
    av.logging.set_level(av.logging.ERROR)
    corrupt: list[str] = []
    with av.logging.Capture() as messages:
        try:
            pictures = _pictures(path, 0, corrupt)
        except (av.error.FFmpegError, OSError, IndexError, ValueError, AttributeError) as error:
            return Plain(error=f"{type(error).__name__}: {error}")  # the last three are PyAV's, for odd streams
        finally:
            av.logging.set_level(None)
    reported = corrupt + [text.strip() for level, _, text in messages if level <= av.logging.ERROR]
    return Plain(tuple(pictures), reported[0] if reported else "")


def excuse(path: Path, plain: Plain) -> str:
    """Why a plain decode without a reported error is no measure all the same; "" if it is one."""
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        frame = next(container.decode(container.streams.best("video")), None)
        matrix = frame.side_data.get("DISPLAYMATRIX") if frame else None
        if matrix is not None and not np.array_equal(np.frombuffer(matrix, np.int32)[:5], [65536, 0, 0, 0, 65536]):
            return "the file asks to be turned"
    if any(tuple(_pictures(path, keep, [])) != plain.pictures for keep in (1, 3, 10**6)):
        return "FFmpeg's pictures depend on its memory"
    return ""


def _pictures(path: Path, keep: int, corrupt: list[str]) -> list[str]:
    """Digests of all pictures, of which the last `keep` are held in memory; `corrupt` receives what is flagged so."""
    digests: list[str] = []
    held: deque[av.VideoFrame] = deque(maxlen=keep)
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.best("video")
        if stream is None:
            raise ValueError("no video")
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            corrupt += ["a packet is flagged as corrupt"] * packet.is_corrupt
            if packet.size == 0 and (packet.pts is not None or packet.dts is not None):
                continue  # in AVI: the picture before is shown again
            frames = stream.decode(packet)
            while frames:
                frame = frames.pop(0)
                corrupt += ["a frame is flagged as corrupt"] * frame.is_corrupt
                digests.append(_digest(frame.to_ndarray(format="rgb24")))
                held.append(frame)
                del frame  # what refers to it decides which memory the next picture gets
    return digests


def compare(answer: Answer, plain: Plain) -> tuple[str, str]:
    """The verdict on an answer, and the fault in it or ""."""
    if answer.problem:
        return "wrong", answer.problem
    outcome = "refused" if answer.refused else "read"
    if plain.error:
        alone = any(answer.pictures[index] != digest for index, digest in answer.early)
        return f"{outcome}, FFmpeg reports an error{', pictures differ when asked for alone' * alone}", ""
    if answer.refused:
        return f"refused, FFmpeg {'reports no error' if plain.pictures else 'gives no picture'}", ""
    fault = _difference(answer, plain.pictures)
    return ("wrong", fault) if fault else ("equal", "")


def _difference(answer: Answer, right: tuple[str, ...]) -> str:
    if len(answer.pictures) != len(right):
        return f"{len(answer.pictures)} pictures, FFmpeg gives {len(right)}"
    for how, asked in (("", enumerate(answer.pictures)), (" alone", answer.early)):
        for index, digest in asked:
            if digest != right[index]:
                other = f"picture {right.index(digest)}" if digest in right else "no picture"
                return f"picture {index}{how} is {other} of FFmpeg's"
    return ""
