"""When each picture of a stream is on show, on one line of time, and how far decoding is behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

# Times that go on by more than this or back by more than this mean that the sender has started again.
_AHEAD = 10.0
_BACK = 1.0

# A camera's clock and ours part by up to this much; without it that would look, after hours, like falling behind.
_DRIFT = 2e-4

_USUAL_INTERVAL = 1 / 25


class Placed(NamedTuple):
    """`start`: seconds since the first picture of all. `follows`: the picture before was on show until then."""

    start: float
    arrived: float
    follows: bool


class StreamClock:
    """Places pictures in time. Across a break, when a sender starts again, time goes on as it does on the wall."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.interval = _USUAL_INTERVAL
        """Seconds from the picture before the last to the last: how long one is on show where none follows it."""
        self.lag = 0.0
        """Seconds that the last picture came later than it would have come at the best pace seen."""
        self._clock = clock
        self._paced = self._untimed = False
        self._last: Placed | None = None
        self._last_time: float | None = None
        self._offset = 0.0
        self._base: float | None = None

    def begin(self, *, paced: bool, untimed: bool) -> None:
        """A new connection. `paced`: its pictures are played in real time. `untimed`: they are timed by their arrival."""
        self._paced, self._untimed = paced, untimed
        self._last_time = None

    def place(self, time: float | None, stop: threading.Event) -> Placed | None:
        """The place of a picture whose own time is `time`, seconds by the sender's clock or None for the usual interval.

        Waits until it is due where pictures are paced, at most until `stop` is set. None for a picture that comes after a
        later one: it is not shown.
        """
        now = self._clock()
        if self._untimed:
            time = now
        elif time is None:
            time = 0.0 if self._last_time is None else self._last_time + self.interval
        follows = self._last_time is not None and -_BACK <= time - self._last_time <= _AHEAD
        if follows and self._last_time is not None:
            if time <= self._last_time:
                return None
            self.interval = time - self._last_time
        else:
            self._offset = self._resumed(now) - time
            self._base = None
        self._last_time = time
        start = time + self._offset
        if self._paced and self._base is not None and (early := self._base + start - now) > 0:
            stop.wait(early)
            now = self._clock()
        self._last = Placed(start, now, follows)
        if self._base is None:
            self._base = now - start
        elif not self._paced:
            self._base = min(self._base + _DRIFT * self.interval, now - start)
        self.lag = now - start - self._base
        return self._last

    def lag_at(self, time: float | None) -> float:
        """What the lag of a picture of that time would be if it came out now; 0 where that is unknown."""
        if self._untimed or time is None or self._base is None:
            return 0.0
        return self._clock() - (time + self._offset) - self._base

    def _resumed(self, now: float) -> float:
        if self._last is None:
            return 0.0
        return max(self._last.start + self.interval, self._last.start + now - self._last.arrived)
