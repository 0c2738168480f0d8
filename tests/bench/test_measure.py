"""The measuring itself: who is called when, what is made of the times, and memory that is known beforehand."""

from __future__ import annotations

import gc
import json
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videomamba.bench import measure as benchmark
from videomamba.bench.measure import (
    Figure,
    Limits,
    Timing,
    describe_machine,
    fitted_exponent,
    measure,
    peak_memory,
    take_turns,
)
from videomamba.evaluation.plot import Panel, save_plot
from videomamba.schema import VideoMambaError


class Clock:
    """A clock that only calls move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def takes(self, name: str, *seconds: float) -> Callable[[], None]:
        """A call that takes `seconds` by turns, the last for ever."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


class TestMeasure:
    def test_calls_take_turns_after_a_warm_up(self) -> None:
        clock = Clock()
        found = measure({n: clock.takes(n, 9, 0.5) for n in "ab"}, runs=3, clock=lambda: clock.now)
        assert "".join(clock.calls) == "aabb" + "ab" * 3
        assert found == {"a": Timing((0.5,) * 3), "b": Timing((0.5,) * 3)}

    def test_a_short_call_is_warmed_before_it_is_counted(self) -> None:
        clock = Clock()
        found = measure(
            {"short": clock.takes("s", 0.01), "long": clock.takes("l", 0.2)}, runs=2, clock=lambda: clock.now
        )
        assert "".join(clock.calls) == "ssll" + "ssl" * 2
        assert [len(t.seconds) for t in found.values()] == [2, 2]

    def test_a_slow_call_is_counted_less_often(self) -> None:
        clock = Clock()
        found = measure({"slow": clock.takes("s", 2), "fast": clock.takes("f", 0.5)}, runs=7, clock=lambda: clock.now)
        assert [len(t.seconds) for t in found.values()] == [benchmark.SLOW_RUNS, 7]

    def test_timers_of_elsewhere_take_turns(self) -> None:
        """Their seconds are what they say, not what passed here."""
        seconds = iter(range(1, 100))
        timers = {name: lambda: float(next(seconds)) for name in ("short", "long", "slow")}
        expected = {"short": 0.01, "long": 0.5, "slow": 2.0}
        found = take_turns(timers, expected, runs=4)
        assert found["short"].seconds == (2, 6, 10, 14)  # the one before each is a warm-up
        assert found["long"].seconds == (3, 7, 11, 15)
        assert found["slow"].seconds == (4, 8, 12)

    def test_garbage_collection_comes_back(self) -> None:
        def fails() -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            measure({"fails": fails}, runs=1)
        assert gc.isenabled()
        states: list[bool] = []
        measure({"look": lambda: states.append(gc.isenabled())}, runs=1)
        assert states[-1] is False and gc.isenabled()

    def test_no_runs_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            measure({}, runs=0)


def test_a_timing_is_its_median_between_quartiles() -> None:
    timing = Timing((0.005, 0.001, 0.004, 0.002, 0.003))
    assert timing.cells() == pytest.approx({"ms": 3.0, "low": 2.0, "high": 4.0, "runs": 5})
    assert Timing((0.1,)).quartiles == pytest.approx((0.1, 0.1))


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down for everybody changes no ratio; missing rounds of a slow call are left out."""
    assert Timing((2.0, 20.0, 4.0)).over(Timing((1.0, 10.0, 2.0, 7.0))) == 2.0


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_exponents_are_found(exponent: float) -> None:
    lengths = [8, 16, 64, 512]
    assert fitted_exponent(lengths, [3 * n**exponent for n in lengths]) == pytest.approx(exponent)


def test_one_length_has_no_exponent() -> None:
    with pytest.raises(ValueError, match="two different lengths"):
        fitted_exponent([8, 8], [1, 2])


def fill(megabytes: int, *, times: int) -> Callable[[], object]:
    """Holds one buffer, and makes `times` more, one after the other, when called."""
    held = torch.ones(megabytes, 2**18)

    def call() -> None:
        for _ in range(times):
            torch.ones_like(held)

    return call


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_peak_memory_is_what_a_call_adds() -> None:
    peak = peak_memory(fill, 64, times=3)
    assert peak is not None
    assert 0.95 * 64 * 2**20 < peak < 1.1 * 64 * 2**20


def keep(megabytes: int) -> Callable[[], object]:
    """Fills a buffer that a thread keeps for its next call."""
    kept = threading.local()

    def call() -> None:
        if not hasattr(kept, "buffer"):
            kept.buffer = torch.ones(megabytes, 2**18)

    return call


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_what_is_kept_for_the_next_call_counts() -> None:
    peak = peak_memory(keep, 64)
    assert peak is not None
    assert 0.95 * 64 * 2**20 < peak < 1.1 * 64 * 2**20


def test_limits_bound_by_the_slower_of_two() -> None:
    limits = Limits(bytes_per_second=10, flops_per_second=100)
    assert limits.seconds(moved=20, flops=100) == 2.0
    assert limits.seconds(moved=20, flops=500) == 5.0


def test_measured_limits_are_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_COPY_BYTES", 2**20)
    monkeypatch.setattr(benchmark, "_PRODUCT_SIZE", 64)
    limits = benchmark.measure_limits()
    assert limits.bytes_per_second > 1e7 and limits.flops_per_second > 1e7


def test_records_are_json() -> None:
    record = json.loads(json.dumps(Figure("machine", describe_machine()).as_dict()))
    assert record["table"] == "machine" and record["torch"] == torch.__version__ and record["cpu"]


class TestPlot:
    PANEL = Panel("time", "frames", "ms", {"fp32": {8: 1.0, 16: 2.0}, "bf16": {16: 1.5}}, {"fp32": 1.0})

    def test_a_png_is_written(self, tmp_path: Path) -> None:
        save_plot(tmp_path / "growth", [self.PANEL, self.PANEL], caption="a machine")
        data = (tmp_path / "growth").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > 2 * height

    def test_more_panels_than_two_have_rows(self, tmp_path: Path) -> None:
        save_plot(tmp_path / "growth", [self.PANEL] * 3, caption="a machine")
        width, height = struct.unpack(">II", (tmp_path / "growth").read_bytes()[16:24])
        assert height < width < 2 * height

    def test_a_folder_that_is_absent_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match=r"growth\.png: the plot cannot be written \(No such file"):
            save_plot(tmp_path / "absent" / "growth.png", [self.PANEL], caption="")

    def test_without_matplotlib_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        monkeypatch.delitem(sys.modules, "videomamba.evaluation.plot")
        with pytest.raises(VideoMambaError, match=r"videomamba\[plot\]"):
            __import__("videomamba.evaluation.plot")
