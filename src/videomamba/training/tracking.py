"""The records of a run: metrics.jsonl, metrics.csv, TensorBoard events, and a bar or lines on stderr.

A record is one line of metrics.jsonl: "kind" (step, epoch or event), "step" (optimiser steps done by then), "epoch" (of a
step or an epoch), and the values. A number that is not finite is the string "nan", "inf" or "-inf", which JSON lacks as
numbers. A resumed run has the records of an uninterrupted one: those after its checkpoint are removed.

The bar shows the step values loss, lr, samples_per_second and waiting (the share of time spent waiting for data, in [0, 1]).
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from videomamba.files import clear_remains, write_atomically
from videomamba.schema import VideoMambaError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from videomamba.training.tensorboard import EventWriter

Value = float | int | str | None
Record = dict[str, Any]

JSONL = "metrics.jsonl"
CSV = "metrics.csv"
EVENTS = "tensorboard"
AVERAGED = ("loss", "samples_per_second", "waiting")
"""Step values whose mean is in the record of the epoch, as are those of *_loss, unless the caller passes another."""

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Tracker:
    """Writes the records of one run into the folder `out`; a context manager.

    `resume_step` is the step of the checkpoint from which the run resumes: records of later steps are removed. None starts
    new files. A second record of an epoch replaces the first. In a distributed run only the main process has a tracker.

    A kill loses no record. A full disk raises VideoMambaError with the name of the file, and earlier records stay complete.
    """

    def __init__(
        self,
        out: Path,
        *,
        total_steps: int,
        tensorboard: bool = False,
        show: bool = True,
        resume_step: int | None = None,
    ) -> None:
        self._out = Path(out)
        self._total_steps = total_steps
        self._tensorboard = tensorboard
        self._show = show
        self._resume_step = resume_step
        self._last_step = resume_step or 0
        self._epochs: list[Record] = []
        self._epoch: int | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        self._jsonl: FileIO | None = None
        self._events: EventWriter | None = None
        self._bar: _Bar | None = None

    def __enter__(self) -> Self:
        if self._tensorboard:  # a missing package is an error before anything changes
            from videomamba.training.tensorboard import open_events
        kept: list[Record] = []
        if self._resume_step is not None:
            kept = [record for record in read_metrics(self._out) if record["step"] <= self._resume_step]
        with _saving(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
            clear_remains(self._out, "metrics.*")
        for record in kept:
            self._take(record)
        self._write_csv()
        self._rewrite(kept)
        if self._tensorboard:
            with _saving(self._out / EVENTS):
                first = 0 if self._resume_step is None else self._resume_step + 1
                self._events = open_events(self._out / EVENTS, first_step=first)
        if self._show and sys.stderr.isatty():
            self._bar = _Bar(self._total_steps, self._last_step)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._jsonl is not None:
            self._jsonl.close()
        if self._events is not None:
            try:
                with _saving(self._out / EVENTS):
                    self._events.close()
            except VideoMambaError:
                if error is None:  # otherwise the error that ended the run matters more
                    raise

    def step(self, step: int, *, epoch: int, **values: Value) -> None:
        """Records an optimiser step; `step` counts from 1."""
        self._last_step = step
        self._write({"kind": "step", "step": step, "epoch": epoch, **values})
        if self._bar is not None:
            self._bar.advance(step, epoch, values)

    def epoch(self, epoch: int, *, quiet: bool = False, **values: Value) -> None:
        """Records the end of an epoch: the means of the finite AVERAGED values of all its steps, then `values`.

        A `quiet` record has no line on stderr.
        """
        sums = self._sums if self._epoch == epoch else {}
        means: Record = {name: total / count for name, (total, count) in sums.items()}
        record = {"kind": "epoch", "step": self._last_step, "epoch": epoch, **means, **values}
        if any(old["epoch"] == epoch for old in self._epochs):
            self._epochs = [old for old in self._epochs if old["epoch"] != epoch]
            again = ("epoch", epoch)
            self._rewrite([old for old in read_metrics(self._out) if (old["kind"], old.get("epoch")) != again])
        self._write(record)
        self._write_csv()
        if self._show and not quiet:
            line = f"epoch {epoch}, step {self._last_step}: {describe(means | values)}"
            if self._bar is not None:
                self._bar.print(line)
            else:
                print(line, file=sys.stderr, flush=True)

    def event(self, message: str, *, step: int | None = None, **values: Value) -> None:
        """Records an event at `step`, by default the last. A resume before that step removes it."""
        at = self._last_step if step is None else step
        self._write({"kind": "event", "step": at, "message": message, **values})

    def _write(self, record: Record) -> None:
        with _saving(self._out / JSONL):
            self._append(_line(record))
        self._take(record)
        if self._events is not None and record["kind"] != "event":
            with _saving(self._out / EVENTS):
                for name, value in record.items():
                    if name not in ("kind", "step", "epoch") and isinstance(value, int | float):
                        self._events.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def _append(self, line: bytes) -> None:
        """Writes all of the line or nothing: a disk that fills up takes a part."""
        assert self._jsonl is not None, "a tracker is used inside its with statement"
        start = self._jsonl.tell()
        try:
            written = 0
            while written < len(line):
                written += self._jsonl.write(line[written:])
        except OSError:
            self._jsonl.truncate(start)
            self._jsonl.seek(start)
            raise

    def _take(self, record: Record) -> None:
        """Adds a written record to the means and the epochs."""
        if record["kind"] == "epoch":
            self._epochs.append(record)
        elif record["kind"] == "step":
            if record["epoch"] != self._epoch:
                self._epoch, self._sums = record["epoch"], {}
            averaged = (name for name in record if name in AVERAGED or name.endswith("_loss"))
            for name in averaged:
                value = record[name]
                if isinstance(value, int | float) and math.isfinite(value):
                    total, count = self._sums.get(name, (0.0, 0))
                    self._sums[name] = total + value, count + 1

    def _rewrite(self, records: list[Record]) -> None:
        path = self._out / JSONL
        if self._jsonl is not None:
            self._jsonl.close()
        write_atomically(path, lambda target: target.write_bytes(b"".join(map(_line, records))))
        with _saving(path):
            self._jsonl = path.open("ab", buffering=0)

    def _write_csv(self) -> None:
        """Writes all epochs again, since an epoch may have a column that the header lacks."""
        columns = list(dict.fromkeys(name for record in self._epochs for name in record if name != "kind"))
        text = StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._epochs)
        write_atomically(self._out / CSV, lambda target: target.write_bytes(text.getvalue().encode()))


def read_metrics(out: Path) -> list[Record]:
    """The records of the run in the folder `out`, in order; none before its start.

    An incomplete last line, after a kill, is skipped. Raises VideoMambaError naming the file, and the line of another fault.
    """
    path = Path(out) / JSONL
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise VideoMambaError(f"{path}: the metrics cannot be read ({error.strerror})") from None
    while lines and not lines[-1]:
        lines.pop()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_parse(line))
        except ValueError:
            if number < len(lines):
                raise VideoMambaError(f"{path}, line {number}: not a record of metrics; remove the line") from None
    return records


def describe(values: Mapping[str, Value]) -> str:
    """Values on one line, "loss 0.5123, samples per second 31.2", without those that are None."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
        if value is not None
    )


def _parse(line: bytes) -> Record:
    record = json.loads(line)
    if not isinstance(record, dict) or record.get("kind") not in ("step", "epoch", "event"):
        raise ValueError
    if not isinstance(record.get("step"), int):
        raise ValueError
    return {name: _NOT_FINITE.get(v, v) if isinstance(v, str) else v for name, v in record.items()}


def _line(record: Record) -> bytes:
    finite = {n: str(v) if isinstance(v, float) and not math.isfinite(v) else v for n, v in record.items()}
    return json.dumps(finite, allow_nan=False).encode() + b"\n"


@contextmanager
def _saving(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise VideoMambaError(f"{path}: the metrics cannot be saved ({reason}); fix that and resume the run") from error


class _Bar:
    """The progress bar of a terminal."""

    def __init__(self, total: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        values, console = TextColumn("{task.fields[values]}"), Console(stderr=True)
        # stdout is for answers.
        self._progress: Progress = Progress(*columns, values, console=console, redirect_stdout=False)
        self._task: TaskID = self._progress.add_task("train", total=total, completed=done, values="")
        self._progress.start()

    def advance(self, step: int, epoch: int, values: Mapping[str, Value]) -> None:
        found = {name: values[name] for name in ("loss", "lr") if name in values}
        text = describe(found)
        speed, waiting = values.get("samples_per_second"), values.get("waiting")
        if isinstance(speed, int | float):
            text += f", {speed:.1f} samples/s"
        if isinstance(waiting, int | float):
            text += f", waiting {waiting:.0%}"
        self._progress.update(self._task, completed=step, description=f"epoch {epoch}", values=text)

    def print(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def stop(self) -> None:
        self._progress.stop()
