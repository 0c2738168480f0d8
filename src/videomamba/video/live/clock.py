"""The time of each picture of a stream, on one continuous time line, and the lag of the decoder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

# Seconds: a jump forward or back by more than this means that the sender has restarted.
_AHEAD = 10.0
_BACK = 1.0

# The relative drift between a camera's clock and ours; without it the drift would look like lag after hours.
_DRIFT = 2e-4

_USUAL_INTERVAL = 1 / 25


class Placed(NamedTuple):
    """`start`: seconds since the first picture of the stream. `follows`: the previous picture was on screen until then."""

    start: float
    arrived: float
    follows: bool


class StreamClock:
    """Places pictures in time. Across a break, when a sender restarts, time continues with the wall clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.interval = _USUAL_INTERVAL
        """Seconds between the last two pictures: the duration of a picture that none follows."""
        self.lag = 0.0
        """Seconds by which the last picture is late, compared with the best pace so far."""
        self._clock = clock
        self._paced = self._untimed = False
        self._last: Placed | None = None
        self._last_time: float | None = None
        self._offset = 0.0
        self._base: float | None = None

    def begin(self, *, paced: bool, untimed: bool) -> None:
        """A new connection. `paced`: play its pictures in real time. `untimed`: time them by their arrival."""
        self._paced, self._untimed = paced, untimed
        self._last_time = None

    def place(self, time: float | None, stop: threading.Event) -> Placed | None:
        """The place of a picture with the sender's `time` in seconds, None for the usual interval.

        If pictures are paced, waits until it is due or `stop` is set. None for a picture that arrives after a later one: it
        is not shown.
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
            last = self._last
            resumed = 0.0 if last is None else max(last.start + self.interval, last.start + now - last.arrived)
            self._offset = resumed - time
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
        """The lag that a picture of this time would have now; 0 if unknown."""
        if self._untimed or time is None or self._base is None:
            return 0.0
        return self._clock() - (time + self._offset) - self._base
