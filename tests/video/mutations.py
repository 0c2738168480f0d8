"""Thousands of damaged videos: `python -m tests.video.mutations --count 10000 --seed 0 --workers 2 --keep folder`.

File number n of a seed is always the same: `--number n` makes and judges it alone. No error but VideoError may come out, no
file may take more than 30 s, no picture may differ from FFmpeg's where FFmpeg reports no error (see `judging`), and the memory
of a worker must not grow. The exit status is 1 if a file fails; `--keep` receives the failing files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.video.judging import ask, compare, decode_plainly, excuse
from tests.video.mutating import SOURCES, mutated, write_sources

LIMIT = 30.0  # seconds
_WARM = 100  # files after which memory must stay flat
_NOISE = 48  # MB


class Result(NamedTuple):
    """`fault` is "" unless the file fails; `memory` is that of the worker in MB, 0 where it is unknown."""

    number: int
    source: str
    verdict: str
    fault: str = ""
    refused: str = ""
    reported: str = ""
    memory: int = 0


def judge(folder: Path, seed: int, number: int, between: Callable[[], None] = lambda: None) -> Result:
    """Makes a damaged file and judges the answer. `between` is called after our answer, before FFmpeg's."""
    source, content = mutated(folder, seed, number)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{number}{Path(source).suffix}"
        path.write_bytes(content)
        answer = ask(path, np.random.default_rng([seed, number, 1]))
        between()
        plain = decode_plainly(path)
        verdict, fault = compare(answer, plain)
        if verdict == "wrong" and not answer.problem and (why := excuse(path, plain)):
            verdict, fault = f"read, {why}", ""
    return Result(number, source, verdict, fault, answer.refused, plain.error, _memory())


def _memory() -> int:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * 4 // 1024 if pages.exists() else 0


def _work(connection: Connection, folder: Path, seed: int) -> None:
    while (number := connection.recv()) is not None:
        connection.send(judge(folder, seed, number, between=lambda: connection.send(None)))


@dataclass
class Watch:
    """Has the files `numbers` judged by one process after another: a file that takes over `limit` s, or ends the process, is a
    failure and the next file gets a new process."""

    folder: Path
    seed: int
    work: Callable[[Connection, Path, int], None] = _work
    limit: float = LIMIT

    def results(self, numbers: Iterator[int]) -> Iterator[Result]:
        process, connection = self._start()
        try:
            for number in numbers:
                result = self._one(connection, number)
                if result.verdict in ("hang", "crash"):
                    self._end(process, connection)
                    process, connection = self._start()
                yield result
            connection.send(None)
        finally:
            self._end(process, connection)

    def _one(self, connection: Connection, number: int) -> Result:
        source = list(SOURCES)[number % len(SOURCES)]
        whose = "our"
        try:
            connection.send(number)
            for whose in ("our", "FFmpeg's"):
                if not connection.poll(self.limit):
                    fault = f"no answer in {self.limit:g} s" if whose == "our" else ""
                    return Result(number, source, "hang", fault, reported=f"{whose} decode does not end")
                result = connection.recv()
        except (EOFError, OSError):
            fault = "the process ended" if whose == "our" else ""
            return Result(number, source, "crash", fault, reported=f"{whose} decode ended the process")
        return result

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self.work, args=(theirs, self.folder, self.seed), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _end(self, process: multiprocessing.process.BaseProcess, connection: Connection) -> None:
        connection.close()
        process.kill()
        process.join()


def run(folder: Path, seed: int, numbers: Sequence[int], workers: int = 1) -> list[Result]:
    """The results of these files, and a failure for every worker whose memory grows."""
    found: list[Result] = []
    shared, lock = iter(numbers), threading.Lock()

    def take() -> Iterator[int]:
        while True:
            with lock:
                number = next(shared, None)
            if number is None:
                return
            yield number

    def watch() -> None:
        mine = list(Watch(folder, seed).results(take()))
        found.extend([*mine, *_growth(mine)])

    threads = [threading.Thread(target=watch) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def _growth(results: Sequence[Result]) -> list[Result]:
    """A failure if the process holds more memory after its last files than after its first hundred."""
    restarts = [place + 1 for place, result in enumerate(results) if result.verdict in ("hang", "crash")]
    used = [result.memory for result in results[max(restarts, default=0) :]]
    if len(used) < 2 * _WARM:
        return []
    before, after = max(used[_WARM // 2 : _WARM]), min(used[-_WARM // 2 :])
    fault = f"memory grew from {before} to {after} MB" if after > before * 1.1 + _NOISE else ""
    return [Result(-1, "memory", f"{before} MB after {_WARM} files, {after} MB at the end", fault)]


def summary(results: Sequence[Result]) -> list[str]:
    """What became of the files, by verdict and source, and every failure."""
    files = [result for result in results if result.number >= 0]
    lines = [f"{count:6} {verdict}" for verdict, count in Counter(r.verdict for r in files).most_common()]
    lines += [f"memory: {result.verdict}" for result in results if result.number < 0]
    refused = Counter(f"{r.source}: {r.refused}" for r in files if r.verdict == "refused, FFmpeg reports no error")
    lines += [f"{count:6} refused without a report, {what}" for what, count in refused.most_common(12)]
    return lines + [
        f"FAIL {r.number} {r.source}: {r.fault} (FFmpeg: {r.reported or 'no error'})" for r in results if r.fault
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000, help="files to judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--number", type=int, action="append", help="judge only this file; may be repeated")
    parser.add_argument("--keep", type=Path, help="folder for the failing files (with --number: for these files)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sources(folder)
        results = run(folder, options.seed, options.number or range(options.count), options.workers)
        for result in results if options.keep else []:
            if result.number >= 0 and (result.fault or options.number):
                options.keep.mkdir(parents=True, exist_ok=True)
                name, content = mutated(folder, options.seed, result.number)
                (options.keep / f"{options.seed}_{result.number}_{name}").write_bytes(content)
    print("\n".join(summary(results)))
    return int(any(result.fault for result in results))


if __name__ == "__main__":
    sys.exit(main())
