"""The buffer of decoded pictures between the decoding thread and the consumer: a fixed size and a policy when it is full."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, NamedTuple

from torch import Tensor

Drop = Literal["latest", "all"]


class LivePicture(NamedTuple):
    """One picture, on screen from `start` to `stop` seconds of the stream; `arrived` is the clock time of its decoding.

    `data` is (h, w, 3) uint8 RGB, upright, or the result of `LiveSource`'s `prepare`.
    """

    start: float
    stop: float
    arrived: float
    data: Tensor


class LiveBuffer:
    """At most `capacity` pictures. `put` into a full one drops the oldest ("latest") or waits ("all")."""

    def __init__(self, capacity: int, drop: Drop) -> None:
        self.dropped = 0
        self._capacity, self._drop = capacity, drop
        self._waiting: deque[LivePicture] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._problem: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, picture: LivePicture) -> None:
        """After `close`, pictures are discarded."""
        with self._changed:
            if self._drop == "all":
                self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._ended)
            if self._ended:
                return
            if len(self._waiting) == self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(picture)
            self._changed.notify_all()

    def end(self, problem: BaseException | None = None) -> None:
        """No more pictures will come; `take` raises `problem` when none are left."""
        with self._changed:
            self._ended = True
            self._problem = problem
            self._changed.notify_all()

    def close(self) -> None:
        """The consumer has stopped: pictures are discarded, and `put` and `take` no longer wait."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def take(self) -> list[LivePicture]:
        """All waiting pictures, at least one; empty at the end. Raises the `problem` of `end`."""
        with self._changed:
            # On Windows, Ctrl-C does not end a wait without a limit.
            while not (self._waiting or self._ended):
                self._changed.wait(0.2)
            taken = list(self._waiting)
            self._waiting.clear()
            if not taken and self._problem is not None:
                problem, self._problem = self._problem, None
                raise problem
            self._changed.notify_all()
            return taken
