"""From a folder of videos to an index that `Search` reads: every video as overlapping windows with a vector each.

The same call resumes and updates. Videos are written in batches, each in one commit: a killed process loses at most the batch
in work. Every video goes through the network alone, so that its vectors have the same bits in whatever order and company it is
indexed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.windows import Windows
from videomamba.files import FolderLock, make_folder
from videomamba.schema import Clip, Frames, Preprocess, VideoError, VideoMambaError
from videomamba.serving.ahead import ahead
from videomamba.serving.clip_model import Precision, about
from videomamba.serving.search.encoder import Encoder, weights_digest
from videomamba.serving.search.facts import NO_FACTS, FileFacts, content_digest, stored_name
from videomamba.serving.search.settings import IndexSettings, check_model
from videomamba.serving.search.sheet import thumbnail
from videomamba.serving.search.table import KnownVideo, VideoWindows, WindowTable, in_index
from videomamba.serving.window_walk import WindowWalk
from videomamba.video.find import describe_ignored, search_videos
from videomamba.video.open import open_video
from videomamba.weights.released import TEXT_MODEL
from videomamba.weights.zoo import look

BATCH = 16
"""Videos in one commit, the most work that a kill costs."""
_WINDOWS_AT_ONCE = 8  # through the network
_WINDOWS_IN_BATCH = 1024  # a batch of long videos is written earlier
_PARTS_AHEAD = 2  # of _WINDOWS_AT_ONCE clips, that wait for the network


@dataclass(frozen=True)
class IndexProgress:
    """`done` of `total` videos that the run has to read; `failures` are the errors since the last call."""

    done: int
    total: int
    failures: tuple[VideoError, ...] = ()


@dataclass(frozen=True)
class IndexReport:
    """The result of a run. `added`, `changed` and `gone` count videos, `failed` those among the first two that cannot be read.

    `unchanged` are the others, of which `unreadable` could not be read by an earlier run. `videos` and `windows` are those that
    the index now has.
    """

    videos: int
    windows: int
    added: int
    changed: int
    gone: int
    unchanged: int
    failed: int
    unreadable: int


def build_index(
    folder: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    window: float | None = None,
    stride: float | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
    precision: Precision | None = None,
    batch: int = BATCH,
    retry: bool = False,
    progress: Callable[[IndexProgress], object] = lambda now: None,
    notify: Callable[[str], object] = lambda line: None,
) -> IndexReport:
    """Makes, resumes or updates the index `out` of all videos below `folder`: adds new, drops gone, reads changed ones again.

    `out` is a folder, usually NAME.lance, or the URL of one in object storage. A video is cut into windows of `window` seconds,
    one every `stride` seconds. A setting that is None is that of the index; in a new one `model` is `TEXT_MODEL`, which
    knows moving shapes, `window` the length of its training clips, `stride` half a window. A video is unchanged when size and
    time of its file are; if only the time differs, its content is compared. Videos that cannot be read are remembered and not
    tried again until they change, unless `retry`. `notify` gets remarks on the model, and on files that are no videos.

    Raises VideoMambaError for a folder without videos, an index with other settings or of another folder, an index that another
    process writes, and where it cannot be written.
    """
    if batch < 1:
        raise VideoMambaError(f"batch {batch}: give at least 1 video")
    folder, address = Path(folder), str(out)
    found = search_videos(folder)
    for line in describe_ignored([one for one in found.ignored if not in_index(Path(one.path))]):
        notify(f"ignored {line}")
    if not folder.is_dir():
        raise VideoMambaError(f"{folder}: is a file; give the folder that it is in")
    paths = {stored_name(path, folder): path for path in found.videos if path != folder}
    if not paths:
        raise VideoMambaError(f"{folder}: is one video, a folder of images; give the folder that it is in")
    WindowTable.open(address)  # a folder of something else gets no lock
    with _locked(address, notify):
        table = WindowTable.open(address)
        asked = _Asked(model, window, stride, num_frames, image_size, precision)
        settings, encoder = asked.open(table, address, device)
        for remark in encoder.model.remarks:
            notify(remark)
        if table is None:
            table = WindowTable.create(address, settings.model_dump_json(), settings.dim)
        _check_folder(table, folder)
        plan = _Plan.make(paths, table.known(), retry=retry)
        if plan.work:
            table.set_state(folder=str(folder.resolve()), complete="no")
            table.drop(plan.gone)
            table.touch(plan.touched)
        failed = _read_all(table, encoder, settings, plan, batch=batch, progress=progress)
        if plan.work:
            table.settle()
        table.set_state(folder=str(folder.resolve()), complete="yes")
        return IndexReport(
            videos=len(paths) - failed - len(plan.unreadable),
            windows=table.windows(),
            added=len(plan.added),
            changed=len(plan.changed),
            gone=len(plan.gone),
            unchanged=len(paths) - len(plan.added) - len(plan.changed),
            failed=failed,
            unreadable=len(plan.unreadable),
        )


@contextmanager
def _locked(address: str, notify: Callable[[str], object]) -> Iterator[None]:
    if "://" in address:
        notify(f"{address}: cannot be locked; make sure that nobody else writes it")
        yield
        return
    make_folder(Path(address), option="--out")
    lock = FolderLock(Path(address))
    if lock.warning:
        notify(lock.warning)
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Asked:
    """The settings that a caller chose; None: as the index has, or the default of a new one."""

    model: str | None
    window: float | None
    stride: float | None
    num_frames: int | None
    image_size: int | None
    precision: Precision | None

    def open(self, table: WindowTable | None, address: str, device: str) -> tuple[IndexSettings, Encoder]:
        """The settings of the index and its network. Raises VideoMambaError where the existing index has others."""
        known = None if table is None else IndexSettings.of(table)
        model = self.model or (TEXT_MODEL if known is None else known.model)
        path, is_file = look(model)
        model = str(path.resolve()) if is_file else model  # the index may be searched from another folder
        digest = weights_digest(model) if known is None else check_model(known, model, address)
        precision = self.precision or ("fp32" if known is None else known.precision)
        clip = None if known is None else known.preprocess
        encoder = Encoder.open(
            model,
            num_frames=clip.num_frames if clip and self.num_frames is None else self.num_frames,
            image_size=clip.image_size if clip and self.image_size is None else self.image_size,
            device=device,
            precision=precision,
        )
        windows = Windows.for_model(
            encoder.preprocess,
            window=known.window if known and self.window is None else self.window,
            stride=known.stride if known and self.window is None and self.stride is None else self.stride,
        )
        settings = IndexSettings(
            model=model if known is None else known.model,
            weights_sha256=digest,
            text=encoder.reads_text,
            preprocess=encoder.preprocess,
            precision=precision,
            dim=encoder.dim,
            window=windows.window,
            stride=windows.stride,
        )
        if known is not None and settings != known:
            raise VideoMambaError(
                f"{address}: was made with {known.difference(settings)}; leave the option out, or make another index with --out"
            )
        return settings, encoder


def _check_folder(table: WindowTable, folder: Path) -> None:
    before = table.state.get("folder", "")
    if before and Path(before) != folder.resolve() and Path(before).is_dir():
        raise VideoMambaError(
            f"{table.address}: is the index of {before}; give that folder, or make another index with --out"
        )


@dataclass(frozen=True)
class _Plan:
    """The names of videos that are to be read, `added` and `changed`, and the other changes; `paths` by name.

    `touched` have the new time of an unchanged content. `unreadable` are unchanged.
    """

    paths: Mapping[str, Path]
    facts: Mapping[str, FileFacts]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    touched: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    @classmethod
    def make(cls, paths: Mapping[str, Path], known: Mapping[str, KnownVideo], *, retry: bool) -> _Plan:
        facts = {name: FileFacts.of(path) for name, path in paths.items()}
        changed, touched, unreadable = [], {}, []
        for name in paths:
            before = known.get(name)
            if before is None:
                continue
            now = facts[name]
            if retry and before.error is not None:
                changed.append(name)
                continue
            if now != before.facts:
                if now.size != before.facts.size or not before.sha256 or content_digest(paths[name]) != before.sha256:
                    changed.append(name)
                    continue
                touched[name] = now.mtime
            if before.error is not None:
                unreadable.append(name)
        return cls(
            paths=paths,
            facts=facts,
            added=tuple(name for name in paths if name not in known),
            changed=tuple(changed),
            gone=tuple(name for name in known if name not in paths),
            touched=touched,
            unreadable=tuple(unreadable),
        )

    @property
    def reads(self) -> tuple[str, ...]:
        wanted = {*self.added, *self.changed}
        return tuple(name for name in self.paths if name in wanted)

    @property
    def work(self) -> bool:
        return bool(self.added or self.changed or self.gone or self.touched)


def _read_all(
    table: WindowTable,
    encoder: Encoder,
    settings: IndexSettings,
    plan: _Plan,
    *,
    batch: int,
    progress: Callable[[IndexProgress], object],
) -> int:
    """Reads and writes the videos of the plan; returns the number of those that cannot be read."""
    names, changed = plan.reads, frozenset(plan.changed)
    waiting: list[VideoWindows] = []
    failed = 0

    def write() -> None:
        table.drop([video.path for video in waiting if video.path in changed])
        table.append(waiting)
        waiting.clear()

    if names:
        progress(IndexProgress(0, len(names)))
    for done, video in enumerate(_videos(names, encoder, settings, plan), 1):
        waiting.append(video)
        failures = () if video.error is None else (VideoError(plan.paths[video.path], video.error),)
        failed += len(failures)
        if len(waiting) >= batch or sum(map(len, waiting)) >= _WINDOWS_IN_BATCH:
            write()
        progress(IndexProgress(done, len(names), failures))
    if waiting:
        write()
    return failed


@dataclass(frozen=True, eq=False)
class _Read:
    """A video whose clips have all been handed over, and what else is known of it; `walk` is None where `error` says why."""

    name: str
    sha256: bytes
    walk: WindowWalk | None = None
    thumbnails: tuple[bytes, ...] = ()
    error: str = ""


def _videos(names: Sequence[str], encoder: Encoder, settings: IndexSettings, plan: _Plan) -> Iterator[VideoWindows]:
    """The windows of each video, in order; a thread decodes ahead, also the next video, while the network runs."""
    windows = Windows(settings.window, settings.stride, settings.preprocess.num_frames)
    vectors: list[NDArray[np.float32]] = []
    parts = _parts(names, plan.paths, windows, settings.preprocess)
    # The thread ends before the generator that it reads from is closed.
    with closing(parts), closing(ahead(lambda _: next(parts, None), repeat(None), waiting=_PARTS_AHEAD)) as found:
        for part in found:
            if part is None:
                return
            if isinstance(part, list):
                vectors.append(encoder.vectors(part))
                continue
            facts = plan.facts[part.name]
            if part.walk is None and FileFacts.of(plan.paths[part.name]) != facts:
                facts = NO_FACTS  # such as on a drive that was removed meanwhile: the next run tries again
            yield _with_vectors(part, facts, vectors)
            vectors = []


def _with_vectors(read: _Read, facts: FileFacts, parts: Sequence[NDArray[np.float32]]) -> VideoWindows:
    if read.walk is None:
        return VideoWindows(read.name, facts, read.sha256, error=read.error)
    vectors = np.concatenate(parts)
    if not np.isfinite(vectors).all():
        reason = "its vectors hold numbers that are not finite; the weights are damaged, or try precision fp32"
        return VideoWindows(read.name, facts, read.sha256, error=reason)
    starts, length = read.walk.starts, read.walk.length
    spans = np.stack([starts, starts + length], axis=1)
    return VideoWindows(read.name, facts, read.sha256, read.walk.duration, spans, vectors, read.thumbnails)


def _parts(
    names: Sequence[str], paths: Mapping[str, Path], windows: Windows, preprocess: Preprocess
) -> Generator[list[Clip] | _Read, None, None]:
    """For each video lists of a few clips, then what else is known of it, or its error."""
    for name in names:
        path = paths[name]
        digest = b""
        try:
            digest = content_digest(path)
            with open_video(path) as video:
                walk = WindowWalk(video, windows)
                album = _Thumbnails(walk.frames[:, walk.frames.shape[1] // 2])
                with closing(walk.clips(preprocess, album.look, in_thread=False)) as clips:
                    while some := list(islice(clips, _WINDOWS_AT_ONCE)):
                        yield some
        except VideoError as error:
            yield _Read(name, digest, error=about(path, error).reason)
        else:
            yield _Read(name, digest, walk, album.of_windows())


class _Thumbnails:
    """A small picture of each window: that of its frame in `frames` (k,)."""

    def __init__(self, frames: NDArray[np.int64]) -> None:
        self._frames = frames.tolist()
        self._wanted = frozenset(self._frames)
        self._pictures: dict[int, bytes] = {}

    def look(self, frames: Frames) -> None:
        for place, index in enumerate(frames.indices):
            if index in self._wanted:
                self._pictures[index] = thumbnail(frames.data[place])

    def of_windows(self) -> tuple[bytes, ...]:
        return tuple(self._pictures[index] for index in self._frames)
