"""A folder of features: killed anywhere, shared among any number of processes, the same bytes in the end."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from videomamba.corpus.extract import in_this_process
from videomamba.corpus.features import Features, Outcome
from videomamba.corpus.folder import Corpus, CorpusSettings, Manifest, Progress
from videomamba.corpus.shards import read_contents, read_shard
from videomamba.corpus.video_list import VideoList
from videomamba.schema import Preprocess, VideoError, VideoMambaError

DIM = 5
NAMES = tuple(f"{i}.mp4" for i in range(11))
LIST = VideoList(NAMES, tuple(map(Path, NAMES)))
BAD = frozenset({"3.mp4", "10.mp4"})

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def settings(videos: VideoList = LIST, **changes: Any) -> CorpusSettings:
    given = {
        **{"model": "m", "weights_sha256": "0", "preprocess": Preprocess(), "dim": DIM, "per_frame": None},
        **{"views": "1x1", "device": "cpu", "precision": "fp32", "format": "safetensors"},
        **{"shard_size": 4, "listed": len(videos), "list_sha256": videos.sha256()},
    }
    return CorpusSettings(**{**given, **changes})


def outcome(name: str, bad: frozenset[str], per_frame: bool) -> Outcome:
    if name in bad:
        return VideoError(name, f"{name} is bad")
    draw = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    if not per_frame:
        return Features(draw.random(DIM, np.float32))
    steps = 1 + int(draw.integers(4))
    return Features(draw.random((steps, DIM), np.float32), np.arange(steps) / 3)


class Extractor:
    """Features made from the name alone. `asked` has the names in the order asked; after `stop` of them it is interrupted."""

    def __init__(self, *, bad: frozenset[str] = BAD, per_frame: bool = False, stop: int = 10**9) -> None:
        self.bad, self.per_frame, self.stop, self.asked = bad, per_frame, stop, list[str]()

    def __call__(self, paths: Sequence[Path]) -> Iterator[Outcome]:
        for path in paths:
            if len(self.asked) == self.stop:
                raise KeyboardInterrupt
            self.asked.append(path.name)
            yield outcome(path.name, self.bad, self.per_frame)


def make(out: Path, extract: Extractor | None = None, **options: Any) -> Manifest | None:
    """One process's run. Settings by name, the rest goes to `Corpus.run`."""
    running = {name: options.pop(name) for name in ("rank", "world", "retry", "progress") if name in options}
    extract = extract or Extractor(per_frame="per_frame" in options)
    corpus = Corpus(out, LIST, settings(**options))
    corpus.run(in_this_process(extract), **running)
    return corpus.finish()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"/" for p in folder.rglob("*")}


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    make(tmp_path / "undisturbed")
    return tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("options", [{}, {"per_frame": "all"}], ids=["vectors", "moments"])
@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_every_video_is_there_or_listed(options: dict[str, Any], format: str, tmp_path: Path) -> None:
    per_frame = bool(options)
    manifest = make(tmp_path, **options, format=format)
    assert manifest is not None and (manifest.videos, manifest.failed) == (9, 2)
    assert manifest.files == tuple(f"shard-0000{i}.{format}" for i in range(3))
    assert set(tree(tmp_path)) == {*manifest.files, "settings.json", "manifest.json", "failures.csv"}
    found: dict[str, tuple[Any, Any]] = {}
    for name in manifest.files:
        paths = read_contents(tmp_path / name).paths
        shard = [each for each in read_shard(tmp_path / name) if each is not None]
        if format == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            rows = parquet.read_table(tmp_path / name).to_pylist()
            plain = [(row["path"], row["features"], row.get("timestamps")) for row in rows]
        else:
            tensors = load_file(tmp_path / name)
            cut = [slice(*tensors["offsets"][i : i + 2]) if per_frame else i for i in range(len(paths))]
            times = tensors.get("timestamps", [None] * len(paths))
            plain = [(path, tensors["features"][i], times[i]) for path, i in zip(paths, cut, strict=True)]
        for (path, data, times), ours in zip(plain, shard, strict=True):
            np.testing.assert_array_equal(np.array(data, np.float32), ours.data)
            np.testing.assert_array_equal(times, ours.timestamps)
            found[path] = (ours.data, ours.timestamps)
    assert list(found) == [name for name in NAMES if name not in BAD]
    for name, (data, times) in found.items():
        expected = outcome(name, BAD, per_frame)
        assert isinstance(expected, Features)
        np.testing.assert_array_equal(data, expected.data)
        np.testing.assert_array_equal(times, expected.timestamps)
    with (tmp_path / "failures.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "reason"], *([n, f"{n} is bad"] for n in ("3.mp4", "10.mp4"))]
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["settings"]["weights_sha256"] == "0" and written["videos"] == 9
    assert [file["failed"] for file in written["files"]] == [1, 0, 1]
    assert manifest.frames == (sum(len(data) for data, _ in found.values()) if per_frame else 9)


def test_an_interruption_costs_the_shard_in_work(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    asked: list[list[str]] = []
    for stop in (0, 2, 6, 4, 100):
        extract = Extractor(stop=stop)
        try:
            make(tmp_path / "out", extract)
        except KeyboardInterrupt:
            assert not (tmp_path / "out" / "manifest.json").exists()
        asked.append([name.removesuffix(".mp4") for name in extract.asked])
    assert [" ".join(names) for names in asked] == ["", "0 1", "0 1 2 3 4 5", "4 5 6 7", "8 9 10"]
    assert tree(tmp_path / "out") == undisturbed


def test_done_before_counts_as_done(tmp_path: Path) -> None:
    told: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Extractor(stop=6))
    make(tmp_path, progress=told.append)
    assert [p.done for p in told] == list(range(4, 12)) and {p.total for p in told} == {11}
    assert [str(failure) for p in told for failure in p.failures] == ["10.mp4: 10.mp4 is bad"]
    told.clear()
    make(tmp_path, progress=told.append)
    assert [(p.done, p.total) for p in told] == [(11, 11)]


@pytest.mark.parametrize("worlds", [(1, 2), (2, 3), (3, 1), (2, 5)])
def test_any_number_of_processes(worlds: tuple[int, int], tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    first, then = worlds
    for rank in range(first):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "out", Extractor(stop=2), rank=rank, world=first)
    finished = [make(tmp_path / "out", rank=rank, world=then) for rank in reversed(range(then))]
    assert finished[-1] is not None
    assert tree(tmp_path / "out") == undisturbed


def test_processes_share_the_videos(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    extracts = [Extractor() for _ in range(4)]
    manifests = [make(tmp_path / "out", extract, rank=rank, world=4) for rank, extract in enumerate(extracts)]
    assert [extract.asked for extract in extracts] == [list(NAMES[:4]), list(NAMES[4:8]), list(NAMES[8:]), []]
    assert manifests[:2] == [None, None] and manifests[2] == manifests[3] is not None
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("options", [{}, {"per_frame": 2.0}], ids=["vectors", "moments"])
@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_retry_tries_what_failed_and_nothing_else(options: dict[str, Any], format: str, tmp_path: Path) -> None:
    options, per_frame = {**options, "format": format}, bool(options)
    make(tmp_path / "out", **options)
    before = tree(tmp_path / "out")
    extract = Extractor(per_frame=per_frame)
    assert make(tmp_path / "out", extract, **options) is not None and extract.asked == []
    make(tmp_path / "out", extract, **options, retry=True)
    assert extract.asked == ["3.mp4", "10.mp4"]
    assert tree(tmp_path / "out") == before
    fixed = Extractor(bad=frozenset({"10.mp4"}), per_frame=per_frame, stop=1)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", fixed, **options, retry=True)
    assert not (tmp_path / "out" / "manifest.json").exists()
    fixed = Extractor(bad=frozenset(), per_frame=per_frame)
    manifest = make(tmp_path / "out", fixed, **options, retry=True)
    assert manifest is not None and manifest.failed == 0 and fixed.asked == ["10.mp4"]
    make(tmp_path / "never failed", Extractor(bad=frozenset(), per_frame=per_frame), **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "never failed")


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a child that runs `work` and exits with 0, or with 3 when it raises."""
    if (child := os.fork()) == 0:
        code = 3
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def killed_at_line(line: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that kills itself before the `line`-th line of the package; whether it came so far."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        # generated code, of dataclasses, has no file
        if "videomamba" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        left -= event == "line"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    status = in_child(traced)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_everywhere(tmp_path: Path, stride: int, *, retry: bool) -> None:
    """A run for each `stride`-th line at which it may be killed, and a second kill of the run after it."""
    shard_size, few = 3, 6
    videos = VideoList(NAMES[:few], LIST.paths[:few])
    bad = frozenset({"1.mp4", "4.mp4"})

    def run(out: Path, bad: frozenset[str], *, retry: bool = retry) -> list[str]:
        log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        extract = Extractor(bad=bad)

        def logged(paths: Sequence[Path]) -> Iterator[Outcome]:
            for path, came in zip(paths, extract(paths), strict=True):
                os.write(log, f"{path}\n".encode())
                yield came

        corpus = Corpus(out, videos, settings(videos, shard_size=shard_size))
        corpus.run(in_this_process(logged), retry=retry)
        assert corpus.finish() is not None
        os.close(log)
        return out.with_suffix(".log").read_text().split()

    def begin(out: Path) -> None:
        if retry:
            run(out, bad, retry=False)
            out.with_suffix(".log").unlink()

    after = frozenset() if retry else bad
    begin(tmp_path / "undisturbed")
    once = run(tmp_path / "undisturbed", after)
    expected = tree(tmp_path / "undisturbed")
    line, came_so_far = 1, True
    while came_so_far:
        out = tmp_path / f"killed_{line}"
        begin(out)
        came_so_far = killed_at_line(line, lambda out=out: run(out, after))
        kills = came_so_far + killed_at_line(line // 2 + 40, lambda out=out: run(out, after))
        asked = run(out, after)
        assert tree(out) == expected, f"killed at line {line}"
        assert set(asked) == set(once) and len(asked) <= len(once) + kills * shard_size
        line += stride
    assert line > 300, "few lines were there to be killed at"


@needs_fork
@forks
@pytest.mark.parametrize("retry", [False, True])
def test_killed_at_some_lines(retry: bool, tmp_path: Path) -> None:
    killed_everywhere(tmp_path, 101, retry=retry)


@needs_fork
@forks
@pytest.mark.slow
@pytest.mark.parametrize("retry", [False, True])
def test_killed_at_many_lines(retry: bool, tmp_path: Path) -> None:
    killed_everywhere(tmp_path, 7, retry=retry)


@needs_fork
@forks
def test_processes_at_work_in_one_folder(tmp_path: Path) -> None:
    """One that is started twice is refused; one that ends first leaves the manifest to the others."""
    pytest.importorskip("fcntl")
    make(tmp_path)

    def same_rank_meanwhile() -> None:
        with pytest.raises(VideoMambaError, match="another process of rank 0 works on it"):
            make(tmp_path)

    def other_rank_meanwhile() -> None:
        assert make(tmp_path, rank=1, world=2) is None

    def extract(paths: Sequence[Path]) -> Iterator[Outcome]:
        for path in paths:
            assert in_child(same_rank_meanwhile) == in_child(other_rank_meanwhile) == 0
            assert not (tmp_path / "manifest.json").exists()
            yield outcome(path.name, frozenset(), False)

    corpus = Corpus(tmp_path, LIST, settings())
    corpus.run(in_this_process(extract), retry=True)
    manifest = corpus.finish()
    assert manifest is not None and manifest.failed == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": "4x3"}, "views 1x1, not 4x3"),
        ({"per_frame": "all"}, "per_frame None, not all"),
        ({"shard_size": 5}, "shard_size 4, not 5"),
        ({"weights_sha256": "1"}, r"another model, m \(of that name, with other weights\)"),
        ({"model": "n", "weights_sha256": "1"}, "another model, m;"),
        ({"preprocess": Preprocess(num_frames=16)}, "num_frames 8, not 16"),
        ({"format": "parquet"}, "format safetensors, not parquet"),
    ],
)
def test_a_folder_of_something_else_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(VideoMambaError, match=message) as refused:
        make(tmp_path / "out", **changes)
    assert str(tmp_path / "out") in str(refused.value) and "\n" not in str(refused.value)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("retry", [False, True])
def test_a_shard_of_other_videos_is_refused(retry: bool, tmp_path: Path) -> None:
    make(tmp_path)
    before = tree(tmp_path)
    shard = tmp_path / "shard-00000.safetensors"
    shard.write_bytes((tmp_path / "shard-00001.safetensors").read_bytes())
    with pytest.raises(VideoMambaError, match=f"^{shard}: is the shard of other videos; remove it"):
        make(tmp_path, retry=retry)
    shard.unlink()
    make(tmp_path, retry=retry)
    assert tree(tmp_path) == before


def test_a_moved_weights_file_is_the_same_model(tmp_path: Path) -> None:
    make(tmp_path)
    before = tree(tmp_path)
    assert make(tmp_path, model="elsewhere/m.safetensors") is not None
    assert tree(tmp_path) == before


def test_another_list_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    other = VideoList(("a.mp4", *NAMES), (Path("a.mp4"), *LIST.paths))
    with pytest.raises(VideoMambaError, match="another list, of 11 videos where this one has 12"):
        Corpus(tmp_path, other, settings(other))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoMambaError, match=r"cannot be created \(.*choose another folder with --out"):
        make(tmp_path / "file")
    (tmp_path / "shard-00000.safetensors").write_text("")
    with pytest.raises(VideoMambaError, match=r"holds shards but no settings\.json"):
        make(tmp_path)
    for format in ("safetensors", "parquet"):
        out = tmp_path / format
        make(out, format=format)
        shard = out / f"shard-00001.{format}"
        for content in (b"short", shard.read_bytes()[:-9]):
            shard.write_bytes(content)
            with pytest.raises(VideoMambaError, match=r"shard-00001.*is damaged"):
                make(out, format=format)
        shard.unlink()
        assert make(out, format=format) is not None
    (out / "settings.json").write_text("{}")
    with pytest.raises(VideoMambaError, match=r"settings\.json: is damaged or of another version"):
        make(out, format=format)


def test_a_full_disk_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    synced = 0

    def fsync(file: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 3:  # of the settings, of a shard, of the second shard
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(VideoMambaError, match=r"shard-00001.*No space left on device"):
        make(tmp_path / "out")
    monkeypatch.undo()
    extract = Extractor()
    make(tmp_path / "out", extract)
    assert extract.asked == list(NAMES[4:])
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_unusual_shards(format: str, tmp_path: Path) -> None:
    """One of failures alone; names that are no text; one video twice."""
    for per_frame in (None, "all"):
        out = tmp_path / f"failures {per_frame}"
        manifest = make(out, Extractor(bad=frozenset(NAMES)), format=format, per_frame=per_frame)
        assert manifest is not None and (manifest.videos, manifest.failed) == (0, 11)
        assert read_shard(out / manifest.files[0]) == [None] * 4
    names = ("b.mp4", "caf\udce9.mp4", "b.mp4")
    videos = VideoList(names, tuple(map(Path, names)))
    for bad in (frozenset(), frozenset({names[1]})):
        out = tmp_path / str(len(bad))
        corpus = Corpus(out, videos, settings(videos, format=format))
        corpus.run(in_this_process(Extractor(bad=bad)))
        assert corpus.finish() is not None
        assert (b"caf\\udce9.mp4" in (out / "failures.csv").read_bytes()) == bool(bad)
        assert read_contents(out / f"shard-00000.{format}").paths == tuple(n for n in names if n not in bad)
