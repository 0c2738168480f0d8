"""What came of each video of a shard, written down as it comes: a file that a kill at any moment does not hurt.

A record is its length (8 bytes), the CRC-32 of that and of what follows (4 bytes), and a body: one line of JSON, then
timestamps (t,) float64 where there are any, then features (d,) or (t, d) float32. All numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError

if sys.platform != "win32":
    import fcntl

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_HEAD = _LENGTH.size + _CHECKSUM.size


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """Of one video: `data` (d,) float32, or (t, d) with `timestamps` (t,) float64 in seconds."""

    data: NDArray[np.float32]
    timestamps: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        expected = self.data.shape[:-1]
        found = () if self.timestamps is None else self.timestamps.shape
        if self.data.dtype != np.float32 or self.data.ndim not in (1, 2) or found != expected:
            raise ValueError(f"features {self.data.shape} {self.data.dtype} with timestamps {found}")

    def __repr__(self) -> str:
        return f"Features({self.data.shape})"


@dataclass(frozen=True)
class Failure:
    """A video that has no features, and why."""

    reason: str


Outcome = Features | Failure


class Journal:
    """The records of one shard by list position; the last record of a position counts. Use it in a `with` statement.

    `places` has where the record of each position begins, `failed` the positions whose record is a Failure.

    Opening makes the file where there is none, locks it against other processes, and cuts off what follows the last whole
    record: what a killed process had not finished. Raises VideoMambaError where another process has it open or the disk
    refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[int, int] = {}
        self.failed: set[int] = set()
        try:
            self._file: IO[bytes] = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            raise _refused(path, error) from error
        try:
            if not lock(self._file, wait=False):
                raise VideoMambaError(f"{path}: another process writes it; wait for that, or give each its own RANK")
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> None:
        end = 0
        while (body := self._record_at(end)) is not None:
            head = json.loads(body[: body.index(b"\n")])
            self._note(head["position"], end, failed="reason" in head)
            end += _HEAD + len(body)
        if self._file.seek(0, os.SEEK_END) > end:
            self._file.truncate(end)
            self._sync()
        self._file.seek(end)

    def _record_at(self, place: int) -> bytes | None:
        """The body of the record that begins at `place`, None where there is no whole one."""
        self._file.seek(place)
        head = self._file.read(_HEAD)
        if len(head) < _HEAD:
            return None
        length, checksum = _LENGTH.unpack_from(head)[0], _CHECKSUM.unpack_from(head, _LENGTH.size)[0]
        if length > os.fstat(self._file.fileno()).st_size - place - _HEAD:
            return None
        body = self._file.read(length)
        # The length counts too: after a power cut a file may end in zeros, and the CRC-32 of nothing is 0.
        return body if zlib.crc32(body, zlib.crc32(head[: _LENGTH.size])) == checksum else None

    def append(self, position: int, outcome: Outcome, *, sync: bool = True) -> None:
        """Adds one record; with `sync` it is on the disk when this returns. Raises VideoMambaError when the disk refuses."""
        body = _encode(position, outcome)
        length = _LENGTH.pack(len(body))
        checksum = _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(length)))
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(length + checksum + body)
            if sync:
                self._sync()
        except OSError as error:
            raise _refused(self.path, error) from error
        self._note(position, place, failed=isinstance(outcome, Failure))

    def _note(self, position: int, place: int, *, failed: bool) -> None:
        self.places[position] = place
        (self.failed.add if failed else self.failed.discard)(position)

    def extend(self, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        """Adds many records, which are on the disk together when this returns."""
        for position, outcome in outcomes:
            self.append(position, outcome, sync=False)
        try:
            self._sync()
        except OSError as error:
            raise _refused(self.path, error) from error

    def outcomes(self, positions: Iterable[int]) -> Iterator[Outcome]:
        """What came of the videos at `positions`, which must be there; read one by one from the file."""
        for position in positions:
            body = self._record_at(self.places[position])
            if body is None:
                raise VideoMambaError(f"{self.path}: has changed on the disk; run the command again")
            yield _decode(body)

    def clear(self) -> None:
        """Forgets all records."""
        self._file.truncate(0)
        self.places.clear()
        self.failed.clear()

    def remove(self) -> None:
        """Deletes the file."""
        self.path.unlink(missing_ok=True)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of what the disk has refused, and `append` has told
            self._file.close()


def lock(file: IO[bytes], *, wait: bool) -> bool:
    """Locks an open file until it is closed or its process ends; False where another process holds it.

    A guard against a command that was started twice by mistake, and no more: a file system that knows no locks has none.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def _encode(position: int, outcome: Outcome) -> bytes:
    if isinstance(outcome, Failure):
        return json.dumps({"position": position, "reason": outcome.reason}).encode() + b"\n"
    head = json.dumps({"position": position, "shape": outcome.data.shape}).encode() + b"\n"
    times = b"" if outcome.timestamps is None else outcome.timestamps.astype("<f8").tobytes()
    return head + times + outcome.data.astype("<f4").tobytes()


def _decode(body: bytes) -> Outcome:
    start = body.index(b"\n") + 1
    head = json.loads(body[:start])
    if "reason" in head:
        return Failure(head["reason"])
    shape = tuple(head["shape"])
    if len(shape) == 1:
        return Features(np.frombuffer(body, "<f4", offset=start))
    times = np.frombuffer(body, "<f8", count=shape[0], offset=start)
    data = np.frombuffer(body, "<f4", offset=start + times.nbytes)
    return Features(data.reshape(shape), times)


def _refused(path: Path, error: OSError) -> VideoMambaError:
    reason = error.strerror or type(error).__name__
    return VideoMambaError(f"{path}: cannot be written ({reason}); free space or mend it, then run the command again")
