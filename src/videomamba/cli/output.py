"""The output of the commands: tables, JSON lines, bars. Answers go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Protocol, Self, TypeVar

from tyro.conf import arg

if TYPE_CHECKING:
    from rich.progress import Progress

    from videomamba.schema import Prediction, VideoError

Item = TypeVar("Item")


class Counted(Protocol):
    """`done` of `total` videos, and the failures since the last count."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def failures(self) -> Sequence[VideoError]: ...


class Answer(Protocol):
    """The answer for a video, which its command prints as text or as this JSON."""

    def as_dict(self) -> dict[str, object]: ...


SomeAnswer = TypeVar("SomeAnswer", bound=Answer)
Json = Annotated[bool, arg(help="print JSON lines for a program instead of a table")]


def forget_output() -> None:
    """Points stdout at nothing, so that the rest of its buffer does not fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    print(f"videomamba: {message}", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Something worth knowing, on stderr; of several processes only the first prints it."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)


def noted(said: list[str]) -> Callable[[str], None]:
    """`note` that also appends each line to `said`."""

    def say(line: str) -> None:
        said.append(line)
        note(line)

    return say


def print_json(record: object) -> None:
    from videomamba.schema import VideoMambaError

    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise VideoMambaError(f"{record}: cannot be written as JSON ({error}); are the weights damaged?") from None
    print(line, flush=True)


def print_answers(
    answers: Iterable[SomeAnswer | VideoError], show: Callable[[SomeAnswer], object], *, json: bool
) -> int:
    """Prints each answer, by `show` or as a line of JSON; failed videos also go to stderr. Returns the exit code."""
    from videomamba.schema import VideoError

    failed = False
    for answer in answers:
        if isinstance(answer, VideoError):
            failed = True
            complain(str(answer))
            if json:
                print_json({"path": answer.path, "error": answer.reason})
        elif json:
            print_json(answer.as_dict())
        else:
            show(answer)
    return 1 if failed else 0


def usable_device(name: str) -> str:
    """The name of the device, of the best one for "auto". Raises VideoMambaError when it cannot be used here."""
    from videomamba.device import find_device
    from videomamba.schema import VideoMambaError

    try:
        return str(find_device(name))
    except (RuntimeError, ValueError, TypeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise VideoMambaError(f"--device {name}: not usable here ({reason}); try --device cpu") from None


def print_table(columns: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> None:
    """Prints a table as wide as the terminal, 120 characters in a pipe; the columns `left` are aligned to the left."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i in left else "right", overflow="fold", no_wrap=column == "preset")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 120)
    with console.capture() as drawn:  # Rich's own print exits with code 1 when the reader has closed the pipe
        console.print(table)
    print(drawn.get(), end="", flush=True)


def print_prediction(answer: Prediction, remark: str = "") -> None:
    """Prints the path of a video, the seconds it took, a `remark`, and its classes with a bar each."""
    print(f"{answer.path}  ({answer.model}, {answer.seconds:.2f} s)")
    if remark:
        print(remark)
    rows = [[p.label, f"{100 * p.score:.1f} %", "#" * round(30 * p.score)] for p in answer.predictions]
    print_table(["class", "score", ""], rows, left=(0, 2))


def progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """`items` with a bar on stderr, if that is a terminal and there is more than one."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    with bar() as shown:
        task = shown.add_task(what, total=total)
        for item in items:
            shown.stop()  # while the answer is printed, perhaps to the same terminal
            yield item
            shown.start()
            shown.advance(task)


def bar(*, disable: bool = False) -> Progress:
    """A bar on stderr. Without these options Rich would also redirect stdout there, even where it is a file."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False, disable=disable)


def waiting(items: Iterable[Item], *, what: str) -> Iterator[Item]:
    """`items` of unknown number, with a spinner between them on stderr if that is a terminal."""
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    console, items = Console(stderr=True), iter(items)
    status = Live(Spinner("dots", what), console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    while True:
        if sys.stderr.isatty():
            status.start()
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            status.stop()
        yield item


def cell(value: str | float | None) -> str:
    """Four significant digits of a number, all digits of a large one."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)


@contextmanager
def counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that moves a bar on stderr, if that is a terminal."""
    with stages({what: what}) as tick:
        yield partial(tick, what)


@contextmanager
def stages(names: Mapping[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total) that moves the bar called names[stage] on stderr, if that is a terminal."""
    with bar(disable=not sys.stderr.isatty()) as progress:
        tasks = {stage: progress.add_task(name, total=None) for stage, name in names.items()}
        yield lambda stage, done, total: progress.update(tasks[stage], completed=done, total=total)


class VideoBar:
    """Finished videos, on stderr if that is a terminal, and failures; of several processes only the first has a bar."""

    def __init__(self) -> None:
        self._bar = bar(disable=not (os.environ.get("RANK", "0") == "0" and sys.stderr.isatty()))
        self._failed, self._count = 0, "videos"
        self._task = self._bar.add_task(self._count, total=None)

    def videos(self, now: Counted) -> None:
        self._failed += len(now.failures)
        with self.hidden():
            for failure in now.failures:
                complain(str(failure))
        self._count = f"videos {now.done}/{now.total}" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, description=self._count, completed=now.done, total=now.total)

    def stage(self, stage: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=f"{self._count}, {stage} {100 * done // total} %")

    def note(self, message: str) -> None:
        with self.hidden():
            note(message)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While something else is printed, perhaps to the same terminal."""
        self._bar.stop()
        yield
        self._bar.start()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def clock(seconds: float, *, hours: bool = False) -> str:
    """Of a time in a video: "4:05.2", or "1:04:05.2" from one hour on and with `hours`."""
    minutes, rest = divmod(round(10 * seconds), 600)
    hour, minutes = divmod(minutes, 60)
    return f"{hour}:{minutes:02}:{rest / 10:04.1f}" if hour or hours else f"{minutes}:{rest / 10:04.1f}"
