"""Features of many videos, shard by shard into a folder, so that any process may be killed at any moment.

The list of videos is cut by position into shards. A shard in work is a journal (`journal.py`); when all its videos are done it
becomes one file, whole or not at all, and then the journal goes. Process r of w has the shards r, r + w, ...; they share
nothing but the folder, and the one that finds all shards there writes the manifest. So the folder ends up with the same bytes,
however often and with however many processes the command was begun again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from videomamba.corpus import shards
from videomamba.corpus.journal import Failure, Features, Journal, Outcome, lock
from videomamba.files import clear_remains, write_atomically
from videomamba.schema import Preprocess, Settings, VideoError, VideoMambaError, Views
from videomamba.weights.zoo import resolve_weights

if TYPE_CHECKING:
    from videomamba.corpus.video_list import VideoList
    from videomamba.serving.embedder import Embedder
    from videomamba.serving.whole import Stages

Format = Literal["safetensors", "parquet"]
Extract = Callable[[Sequence[Path]], Iterator[Outcome]]
"""What comes of each of these videos, in order, one at a time: the next is not begun before the last was taken."""

SETTINGS, MANIFEST, FAILURES = "settings.json", "manifest.json", "failures.csv"


class CorpusSettings(Settings):
    """All that the bytes of the shards depend on, but for the videos themselves and the machine. `dim` is d.

    `model` is what it was called; what counts is `weights_sha256`, so that the file may be moved.
    """

    layout: Literal["videomamba-features-1"] = "videomamba-features-1"
    model: str
    weights_sha256: str
    preprocess: Preprocess
    dim: int = Field(ge=1)
    per_frame: bool
    views: str | None
    fps: float | None
    device: str
    precision: Literal["fp32", "bf16"]
    format: Format
    shard_size: int = Field(ge=1)
    listed: int = Field(ge=1)
    list_sha256: str


@dataclass(frozen=True)
class Progress:
    """Of the share of this process: videos `done` of `total`, and the one just done if it failed."""

    done: int
    total: int
    failed: VideoError | None = None


@dataclass(frozen=True)
class Manifest:
    """A finished corpus: videos that have features, videos that failed, embeddings, names of the shards."""

    videos: int
    failed: int
    frames: int
    files: tuple[str, ...]


class Corpus:
    """The folder `out`, begun or gone on with.

    Raises VideoMambaError, one line that names what differs, where it was begun with other settings, another list or
    another model; where something else is there; and when `settings.format` needs a package that is absent.
    """

    def __init__(self, out: Path, videos: VideoList, settings: CorpusSettings) -> None:
        if (len(videos), videos.sha256()) != (settings.listed, settings.list_sha256):
            raise ValueError(f"{videos!r} is not the list of {settings!r}")
        self._write, self._contents, self._features = _format(settings.format)
        self.out, self.videos, self.settings = out, videos, settings
        self.num_shards = -(-len(videos) // settings.shard_size)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoMambaError(
                f"{out}: cannot be made a folder ({error.strerror}); choose another with --out"
            ) from error
        if not (out / SETTINGS).exists():
            if any(out.glob("shard-*")):
                raise VideoMambaError(f"{out}: holds shards but no {SETTINGS}; choose another folder with --out")
            self._write_text(SETTINGS, settings.model_dump_json(indent=2) + "\n")
        self._check_begun()

    def _check_begun(self) -> None:
        path = self.out / SETTINGS
        try:
            begun = CorpusSettings.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise VideoMambaError(
                f"{path}: is damaged or of another version; choose another folder with --out"
            ) from error
        difference = _difference(begun, self.settings)
        if difference:
            raise VideoMambaError(
                f"{self.out}: was begun with {difference}; go on as it was begun, or choose another folder with --out"
            )

    def run(
        self,
        extract: Extract,
        *,
        rank: int = 0,
        world: int = 1,
        retry: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Does what is left of the shards of process `rank` of `world`. `retry`: failed videos are tried again, once.

        `progress` is called at the beginning and after each video. Raises VideoMambaError when the disk refuses or
        another process has one of these shards; what is done by then is kept.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}: count from 0")
        own = range(rank, self.num_shards, world)
        if not all(self._shard(number).exists() for number in range(self.num_shards)):
            self._withdraw_manifest()
        tell = _Teller(sum(len(self._positions(number)) for number in own), progress)
        left = [number for number in own if self._is_open(number, retry)]
        tell.done(sum(len(self._positions(number)) for number in set(own) - set(left)))
        for number in left:
            with Journal(self._journal(number)) as journal:
                self._work_on(number, journal, extract, retry, tell)

    def finish(self) -> Manifest | None:
        """Writes the manifest and the table of failures if all shards are there; None where one is in work somewhere."""
        numbers = range(self.num_shards)
        paths = [self._shard(number) for number in numbers]
        # A journal beside its shard: its process is about to remove it, and will then find everything there itself.
        if not all(path.exists() for path in paths) or any(self._journal(number).exists() for number in numbers):
            return None
        with (self.out / SETTINGS).open("r+b") as guard:
            lock(guard, wait=True)
            for name in (SETTINGS, MANIFEST, FAILURES):
                clear_remains(self.out, name)
            contents = [self._contents(path) for path in paths]
            failures = [failure for shard in contents for failure in shard.failures]
            manifest = Manifest(
                sum(len(shard.paths) for shard in contents),
                len(failures),
                sum(shard.frames for shard in contents),
                tuple(path.name for path in paths),
            )
            files = [
                {"file": path.name, "videos": len(c.paths), "failed": len(c.failures), "bytes": path.stat().st_size}
                for path, c in zip(paths, contents, strict=True)
            ]
            begun = json.loads((self.out / SETTINGS).read_text(encoding="utf-8"))
            text = json.dumps({"settings": begun, **asdict(manifest), "files": files}, indent=2) + "\n"
            rows = [("path", "reason"), *((failure.path, failure.reason) for failure in failures)]
            table = io.StringIO()
            csv.writer(table, lineterminator="\n").writerows(rows)
            self._write_text(FAILURES, table.getvalue())
            self._write_text(MANIFEST, text)
        return manifest

    def _write_text(self, name: str, text: str) -> None:
        encoded = text.encode("utf-8", "backslashreplace")  # names of files need not be text
        write_atomically(self.out / name, lambda target: target.write_bytes(encoded))

    def _work_on(self, number: int, journal: Journal, extract: Extract, retry: bool, tell: _Teller) -> None:
        shard, positions = self._shard(number), self._positions(number)
        clear_remains(self.out, shard.name)
        if shard.exists():  # then the journal is what a kill left of one that was done, or of an earlier trying again
            journal.clear()
            if not (retry and self._contents(shard).failures):
                journal.remove()
                tell.done(len(positions))
                return
            self._withdraw_manifest()
            journal.extend(self._outcomes_of(number))
            self._sync_folder()
            shard.unlink()
        kept = set(journal.places) - (journal.failed if retry else set())
        tell.done(len(kept))
        missing = [p for p in positions if p not in kept]
        for p, outcome in zip(missing, extract([self.videos.paths[p] for p in missing]), strict=True):
            journal.append(p, outcome)
            failed = VideoError(self.videos.names[p], outcome.reason) if isinstance(outcome, Failure) else None
            tell.done(1, failed)
        names = self.videos.names[positions.start : positions.stop]
        content = partial(journal.outcomes, positions)
        self._write(shard, shards.Shard(positions.start, names, self.settings.dim, self.settings.per_frame, content))
        self._sync_folder()
        journal.remove()

    def _outcomes_of(self, number: int) -> Iterator[tuple[int, Outcome]]:
        """(position, outcome) of every video of a finished shard."""
        reasons = {failure.position: failure.reason for failure in self._contents(self._shard(number)).failures}
        features = self._features(self._shard(number))
        for position in self._positions(number):
            yield position, Failure(reasons[position]) if position in reasons else next(features)

    def _is_open(self, number: int, retry: bool) -> bool:
        shard = self._shard(number)
        if not shard.exists() or self._journal(number).exists():
            return True
        return retry and bool(self._contents(shard).failures)

    def _positions(self, number: int) -> range:
        size = self.settings.shard_size
        return range(number * size, min((number + 1) * size, len(self.videos)))

    def _shard(self, number: int) -> Path:
        return self.out / f"shard-{number:05}.{self.settings.format}"

    def _journal(self, number: int) -> Path:
        return self.out / f"shard-{number:05}.journal"

    def _withdraw_manifest(self) -> None:
        (self.out / MANIFEST).unlink(missing_ok=True)
        (self.out / FAILURES).unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        """Puts new names on the disk, before what they replace is removed."""
        folder = os.open(self.out, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Teller:
    def __init__(self, total: int, progress: Callable[[Progress], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def done(self, videos: int, failed: VideoError | None = None) -> None:
        self._done += videos
        if self._progress is not None:
            self._progress(Progress(self._done, self._total, failed))


def settings_of(
    embedder: Embedder,
    videos: VideoList,
    *,
    model: str,
    views: str,
    per_frame: bool,
    fps: float | None,
    precision: Literal["fp32", "bf16"],
    format: Format,
    shard_size: int,
) -> CorpusSettings:
    """The settings of a corpus of `videos` seen by `embedder`, which was opened as `model`; its file is read for its sum."""
    with resolve_weights(model).open("rb") as file:
        weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return CorpusSettings(
        model=model.encode("utf-8", "backslashreplace").decode(),
        weights_sha256=weights_sha256,
        preprocess=embedder.preprocess,
        dim=embedder.dim,
        per_frame=per_frame,
        views=None if per_frame else str(Views.parse(views)),
        fps=fps,
        device=embedder.device.type,
        precision=precision,
        format=format,
        shard_size=shard_size,
        listed=len(videos),
        list_sha256=videos.sha256(),
    )


def extract_with(
    embedder: Embedder, *, views: str, per_frame: bool, fps: float | None, progress: Stages | None = None
) -> Extract:
    """An `Extract` that asks `embedder`: one vector a video, or with `per_frame` one a time step of the network.

    `progress` is called as a pass through one video goes on.
    """

    def vectors(paths: Sequence[Path]) -> Iterator[Outcome]:
        for answer in embedder.embed_many(paths, views):
            yield Failure(answer.reason) if isinstance(answer, VideoError) else Features(answer.data.numpy())

    def steps(paths: Sequence[Path]) -> Iterator[Outcome]:
        for path in paths:
            try:
                whole = embedder.per_frame(path, fps=fps, progress=progress)
            except VideoError as error:
                yield Failure(error.reason)
            else:
                yield Features(whole.frames.numpy(), whole.timestamps.numpy())

    return steps if per_frame else vectors


def _format(
    name: Format,
) -> tuple[
    Callable[[Path, shards.Shard], None], Callable[[Path], shards.Contents], Callable[[Path], Iterator[Features]]
]:
    if name == "parquet":
        from videomamba.corpus import parquet

        return parquet.write_shard, parquet.read_contents, parquet.read_features
    return shards.write_shard, shards.read_contents, shards.read_features


def _difference(begun: CorpusSettings, asked: CorpusSettings) -> str:
    """The first setting that differs, in words; "" where none does."""
    if begun.weights_sha256 != asked.weights_sha256:
        same = " (of that name, with other weights)" if begun.model == asked.model else ""
        return f"another model, {begun.model}{same}"
    if begun.list_sha256 != asked.list_sha256:
        return f"another list, of {begun.listed} videos where this one has {asked.listed}"
    old, new = _flat(begun.model_dump()), _flat(asked.model_dump())
    for name in old:
        if name != "model" and old[name] != new[name]:
            return f"{name} {old[name]}, not {new[name]}"
    return ""


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    preprocess = values["preprocess"]
    return {**values, **(preprocess if isinstance(preprocess, dict) else {}), "preprocess": None}
