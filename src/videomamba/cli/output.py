"""What the commands print: tables, JSON lines, bars. Answers go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from tyro.conf import arg

if TYPE_CHECKING:
    from rich.progress import Progress

    from videomamba.schema import Prediction, VideoError

Item = TypeVar("Item")


class Answer(Protocol):
    """What is printed of a video: for people by its command, for programs as this."""

    def as_dict(self) -> dict[str, object]: ...


SomeAnswer = TypeVar("SomeAnswer", bound=Answer)
Json = Annotated[bool, arg(help="print JSON lines for a program instead of a table")]


def forget_output() -> None:
    """Points stdout at nothing, so that what is left in its buffer does not fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    print(f"videomamba: {message}", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Something worth knowing, on stderr; of several processes only the first prints it."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)


def print_json(record: object) -> None:
    from videomamba.schema import VideoMambaError

    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise VideoMambaError(f"{record}: is no JSON ({error}); are the weights damaged?") from None
    print(line, flush=True)


def print_answers(
    answers: Iterable[SomeAnswer | VideoError], show: Callable[[SomeAnswer], object], *, json: bool
) -> int:
    """Prints each answer, by `show` or as a line of JSON; videos that failed go to stderr as well. Returns the exit code."""
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
    import torch

    from videomamba.schema import VideoMambaError

    try:
        torch.zeros(1, device=name).item()  # a device such as "meta" makes tensors that hold nothing
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise VideoMambaError(f"--device {name}: not usable here ({reason}); try --device cpu") from None
    return name


def print_table(columns: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> None:
    """Prints a table, the columns `left` aligned to the left; as wide as the terminal, in a pipe 120 characters."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 120)
    with console.capture() as drawn:  # not printed by rich, which exits with code 1 when the reader has left
        console.print(table)
    print(drawn.get(), end="", flush=True)


def print_prediction(answer: Prediction, remark: str = "") -> None:
    """Prints the classes of a video as bars, below its path, the seconds it took and a `remark`."""
    print(f"{answer.path}  ({answer.seconds:.2f} s)")
    if remark:
        print(remark)
    rows = [[p.label, f"{100 * p.score:.1f} %", "#" * round(30 * p.score)] for p in answer.predictions]
    print_table(["class", "score", ""], rows, left=(0, 2))


def progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """`items` with a bar on stderr, where that is a terminal and there is more than one."""
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
    """A bar on stderr. Without these options Rich would also send there what is printed to stdout, even to a file."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False, disable=disable)


def waiting(items: Iterable[Item], *, what: str) -> Iterator[Item]:
    """`items`, whose number is not known, with a spinner on stderr between them where that is a terminal."""
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
    """A function (done, total) that moves a bar on stderr; it does nothing where that is not a terminal."""
    with bar(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def stages(names: Mapping[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total) that moves the bar of that stage, called names[stage], on stderr of a terminal."""
    with bar(disable=not sys.stderr.isatty()) as progress:
        tasks = {stage: progress.add_task(name, total=None) for stage, name in names.items()}
        yield lambda stage, done, total: progress.update(tasks[stage], completed=done, total=total)
