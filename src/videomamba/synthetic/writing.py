"""What the synthetic data sets share: the settings of a folder, resuming, processes that write, lists."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from videomamba.files import make_folder, replace_text
from videomamba.interrupts import interrupts_later
from videomamba.schema import VideoMambaError

SETTINGS_FILE = "synthetic.json"


class Planned(Protocol):
    """A clip that has a file, or will have one."""

    @property
    def path(self) -> Path: ...


Clip = TypeVar("Clip", bound=Planned)


def check_counts(**counts: int) -> None:
    """Raises VideoMambaError for a number below 1."""
    for name, value in counts.items():
        if value < 1:
            raise VideoMambaError(f"{name}: {value} is too few; give at least 1")


def begin(root: Path, settings: dict[str, object], clips_per_class: int) -> None:
    """Writes the settings to `root`. Raises VideoMambaError if its videos were made with others, or with more clips."""
    file = root / SETTINGS_FILE
    if any(root.rglob("*.mp4")):
        if not file.exists():
            raise VideoMambaError(f"{root}: holds videos that are no synthetic data set; choose another folder")
        before = _read_settings(file)
        for key, value in settings.items():
            if before.get(key) == value:
                continue
            if isinstance(value, list):
                raise VideoMambaError(f"{root}: was made with other {key}; give the same or choose another folder")
            raise VideoMambaError(f"{root}: has {key}={before.get(key)}, not {value}; choose another folder")
        if before["clips_per_class"] > clips_per_class:
            raise VideoMambaError(f"{root}: has clips_per_class={before['clips_per_class']}; give at least as many")
    make_folder(root)
    replace_text(file, json.dumps({**settings, "clips_per_class": clips_per_class}, indent=2) + "\n")


def write_missing(
    clips: Sequence[Clip],
    write: Callable[[Clip], None],
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Calls `write` for each clip whose file does not exist, in `workers` processes; `progress(done, total)` after each."""
    for folder in {clip.path.parent for clip in clips}:
        make_folder(folder)
    missing = [clip for clip in clips if not clip.path.exists()]
    done = len(clips) - len(missing)
    with closing(_each(write, missing, workers=workers)) as written:
        for _ in written:
            done += 1
            if progress is not None:
                progress(done, len(clips))


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replaces `file` by a table."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_text(file, table.getvalue())


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict) or not isinstance(settings.get("clips_per_class"), int):
        raise VideoMambaError(f"{file}: is damaged, the settings of its videos are unknown; choose another folder")
    return settings


def _each(write: Callable[[Clip], None], clips: Sequence[Clip], *, workers: int) -> Generator[None, None, None]:
    """Write every clip; yields after each."""
    if workers == 1 or len(clips) < 2:
        yield from map(write, clips)
        return
    # Spawned, not forked: a fork would copy the locks of PyTorch's threads. The parent handles interrupts.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    try:
        with interrupts_later():
            futures = [pool.submit(write, clip) for clip in clips]
        for future in as_completed(futures):
            future.result()
            yield
    except BrokenProcessPool as error:
        raise VideoMambaError(
            f"workers: {workers} processes ended unexpectedly; guard the calling script with "
            "`if __name__ == '__main__':`, or use workers=1"
        ) from error
    finally:
        # A second interrupt in here would close the queue before the processes have heard that they are to end: they and
        # this process would wait for one another for ever.
        with interrupts_later():
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
