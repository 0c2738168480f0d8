"""Pictures on their way from the thread that decodes them to whoever takes them: at most so many, by a stated policy."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, NamedTuple

from torch import Tensor

Drop = Literal["latest", "all"]


class LivePicture(NamedTuple):
    """One picture on show from `start` to `stop`, seconds of the stream; `arrived` is the clock when it was decoded.

    `data` is (h, w, 3) uint8 RGB, upright, or what `LiveSource`'s `prepare` made of that.
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
        """Once the buffer is closed, pictures vanish."""
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
        """No more pictures will come; `problem` is raised where they would have been taken."""
        with self._changed:
            self._ended = True
            self._problem = problem
            self._changed.notify_all()

    def close(self) -> None:
        """Whoever took the pictures has gone: they are given up, and nobody waits any more."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def take(self) -> list[LivePicture]:
        """All pictures that are waiting, at least one; empty at the end. Raises what `end` was given."""
        with self._changed:
            # A wait without a limit is one that Ctrl-C does not end on Windows.
            while not (self._waiting or self._ended):
                self._changed.wait(0.2)
            taken = list(self._waiting)
            self._waiting.clear()
            if not taken and self._problem is not None:
                problem, self._problem = self._problem, None
                raise problem
            self._changed.notify_all()
            return taken
