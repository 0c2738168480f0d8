"""The folder of a corpus: its settings, one file for each shard, and a manifest when all shards exist.

A list of videos is cut by position into shards. Each is one job, and its file appears complete or not at all, so a kill costs
only the unfinished shards. Process r of w has the jobs r, r + w, ...; the processes share only the folder, and the last to end
writes the manifest. The finished folder has the same bytes after any number of runs and processes.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from videomamba.corpus.features import Outcome
from videomamba.corpus.shards import Contents, read_contents, read_shard, write_shard
from videomamba.files import clear_remains, make_folder, write_atomically
from videomamba.schema import Preprocess, Settings, VideoError, VideoMambaError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from videomamba.corpus.video_list import VideoList

Format = Literal["safetensors", "parquet"]
Extract = Callable[[Sequence[Path]], Iterator[Outcome]]
"""The outcome of each of these videos, in order and on demand."""

SETTINGS, MANIFEST, FAILURES = "settings.json", "manifest.json", "failures.csv"


class CorpusSettings(Settings):
    """All that the bytes of the shards depend on, except the videos themselves and the machine. `dim` is d.

    `weights_sha256` identifies the model, whose file may be moved; `model` is only its name.
    """

    layout: Literal["videomamba-features-2"] = "videomamba-features-2"
    model: str
    weights_sha256: str
    preprocess: Preprocess
    dim: int = Field(ge=1)
    views: str
    per_frame: float | Literal["all"] | None
    device: str
    precision: Literal["fp32", "bf16"]
    format: Format
    shard_size: int = Field(ge=1)
    listed: int = Field(ge=1)
    list_sha256: str


@dataclass(frozen=True)
class Job:
    """One shard to write: its file, and the names and files of its videos in order."""

    path: Path
    names: Sequence[str]
    files: Sequence[Path]
    dim: int
    per_frame: bool

    def contents(self) -> Contents:
        """Of the existing shard. Raises VideoMambaError when it is damaged or has other videos."""
        contents = read_contents(self.path)
        if contents.names != list(self.names):
            raise VideoMambaError(f"{self.path}: is the shard of other videos; remove it and run the command again")
        return contents

    def run(self, extract: Extract) -> Iterator[VideoError | None]:
        """Writes the shard; for each of its videos, as it is done, yields its error or None.

        An existing shard keeps its features; only its failures are tried again. Raises VideoMambaError if it cannot be written.
        """
        outcomes: list[Outcome | None] = [None] * len(self.names)
        if self.path.exists():
            outcomes[:] = read_shard(self.path)
        missing = [i for i, outcome in enumerate(outcomes) if outcome is None]
        yield from [None] * (len(outcomes) - len(missing))
        for i, outcome in zip(missing, extract([self.files[i] for i in missing]), strict=True):
            outcomes[i] = outcome
            yield VideoError(self.names[i], outcome.reason) if isinstance(outcome, VideoError) else None
        done = [outcome for outcome in outcomes if outcome is not None]
        write_shard(self.path, self.names, done, dim=self.dim, per_frame=self.per_frame)


Engine = Callable[[Sequence[Job]], Iterator[Sequence[VideoError | None]]]
"""Runs the jobs in any order. As videos are done it yields an entry for each of them: its error or None."""


@dataclass(frozen=True)
class Progress:
    """Of the share of this process: videos `done` of `total`, and the `failures` among the latest ones."""

    done: int
    total: int
    failures: tuple[VideoError, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A finished corpus: the numbers of videos with features, failed videos and vectors, and the names of the shards."""

    videos: int
    failed: int
    frames: int
    files: tuple[str, ...]


class Corpus:
    """The folder `out`, new or with earlier results.

    Raises VideoMambaError, naming the difference, where it has other settings, another list or model, or other files.
    """

    def __init__(self, out: Path, videos: VideoList, settings: CorpusSettings) -> None:
        if (len(videos), videos.sha256()) != (settings.listed, settings.list_sha256):
            raise ValueError(f"{videos!r} is not the list of {settings!r}")
        self.out, self.videos, self.settings = out, videos, settings
        count = -(-len(videos) // settings.shard_size)
        self.shards = [out / f"shard-{number:05}.{settings.format}" for number in range(count)]
        make_folder(out, option="--out")
        if not (out / SETTINGS).exists():
            if any(out.glob("shard-*")):
                raise VideoMambaError(f"{out}: holds shards but no {SETTINGS}; choose another folder with --out")
            self._write_text(SETTINGS, settings.model_dump_json(indent=2) + "\n")
        try:
            self._begun = CorpusSettings.model_validate_json((out / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise VideoMambaError(f"{out / SETTINGS}: is damaged or of another version; use another --out") from error
        difference = _difference(self._begun, settings)
        if difference:
            raise VideoMambaError(f"{out}: was begun with {difference}; keep the settings or choose another --out")

    def run(
        self,
        engine: Engine,
        *,
        rank: int = 0,
        world: int = 1,
        retry: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Does the open jobs of process `rank` of `world`; with `retry` also those whose shard has failures.

        `progress` is called at the start and whenever videos are done. Raises VideoMambaError when a file cannot be written
        or another process of this rank works in the folder; finished shards are kept.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}: count from 0")
        report = progress or (lambda _: None)
        with (self.out / SETTINGS).open("r+b") as file:
            _lock(file, _AT_WORK, shared=True)
            if not _lock(file, _RANK + rank):
                raise VideoMambaError(f"{self.out}: another process of rank {rank} works on it; wait or change RANK")
            own = [self._job(number) for number in range(rank, len(self.shards), world)]
            jobs = [job for job in own if not job.path.exists() or (retry and job.contents().failures)]
            if jobs or not all(path.exists() for path in self.shards):
                (self.out / MANIFEST).unlink(missing_ok=True)
                (self.out / FAILURES).unlink(missing_ok=True)
            total = sum(len(job.names) for job in own)
            done = total - sum(len(job.names) for job in jobs)
            report(Progress(done, total))
            for videos in engine(jobs) if jobs else ():
                done += len(videos)
                report(Progress(done, total, tuple(failure for failure in videos if failure is not None)))

    def finish(self) -> Manifest | None:
        """Writes the manifest and the table of failures; None while shards are missing or other processes at work."""
        with (self.out / SETTINGS).open("r+b") as file:
            if not _lock(file, _AT_WORK) or not all(path.exists() for path in self.shards):
                return None
            for name in ("shard-*", SETTINGS, MANIFEST, FAILURES):
                clear_remains(self.out, name)
            contents = [self._job(number).contents() for number in range(len(self.shards))]
            manifest = Manifest(
                sum(len(shard.paths) for shard in contents),
                sum(len(shard.failures) for shard in contents),
                sum(shard.frames for shard in contents),
                tuple(path.name for path in self.shards),
            )
            files = [
                {"file": path.name, "videos": len(c.paths), "failed": len(c.failures), "bytes": path.stat().st_size}
                for path, c in zip(self.shards, contents, strict=True)
            ]
            table = io.StringIO()
            rows = [(path, reason) for shard in contents for _, path, reason in shard.failures]
            csv.writer(table, lineterminator="\n").writerows([("path", "reason"), *rows])
            self._write_text(FAILURES, table.getvalue())
            about = {"settings": self._begun.model_dump(mode="json"), **asdict(manifest), "files": files}
            self._write_text(MANIFEST, json.dumps(about, indent=2) + "\n")
        return manifest

    def _job(self, number: int) -> Job:
        begin = number * self.settings.shard_size
        part = slice(begin, begin + self.settings.shard_size)
        return Job(
            self.shards[number],
            self.videos.names[part],
            self.videos.paths[part],
            self.settings.dim,
            self.settings.per_frame is not None,
        )

    def _write_text(self, name: str, text: str) -> None:
        encoded = text.encode("utf-8", "backslashreplace")  # file names need not be valid text
        write_atomically(self.out / name, lambda target: target.write_bytes(encoded))


_AT_WORK, _RANK = 0, 1
"""Bytes of the settings file: all processes at work share the first, and each locks the one of its rank."""


def _lock(file: IO[bytes], byte: int, *, shared: bool = False) -> bool:
    """Locks a byte of the file until this process closes the file anywhere, or ends. False if another process holds it.

    A shared lock waits for one that is not shared. On a file system without locks it is always True.
    """
    if sys.platform != "win32":
        try:
            fcntl.lockf(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
    return True


def _difference(begun: CorpusSettings, asked: CorpusSettings) -> str:
    """The first different setting in words, or ""."""
    if begun.weights_sha256 != asked.weights_sha256:
        same = " (of that name, with other weights)" if begun.model == asked.model else ""
        return f"another model, {begun.model}{same}"
    if begun.list_sha256 != asked.list_sha256:
        return f"another list, of {begun.listed} videos where this one has {asked.listed}"
    old, new = ({**s.model_dump(exclude={"model", "preprocess"}), **s.preprocess.model_dump()} for s in (begun, asked))
    return next((f"{name} {old[name]}, not {new[name]}" for name in old if old[name] != new[name]), "")
