"""Features of many videos: killed anywhere, shared among any number of processes, the same bytes in the end."""

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
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.numpy import load_file

from videomamba.corpus.extract import Corpus, CorpusSettings, Manifest, Progress
from videomamba.corpus.journal import Failure, Features, Journal, Outcome
from videomamba.corpus.shards import Blocks, read_contents, read_features, write_safetensors
from videomamba.corpus.video_list import VideoList, read_videos
from videomamba.schema import Preprocess, VideoMambaError

DIM = 5
NAMES = tuple(f"{i}.mp4" for i in range(11))
LIST = VideoList(NAMES, tuple(map(Path, NAMES)))
BAD = frozenset({"3.mp4", "10.mp4"})


def settings(videos: VideoList = LIST, **changes: Any) -> CorpusSettings:
    given = {
        **{"model": "m", "weights_sha256": "0", "preprocess": Preprocess(), "dim": DIM, "per_frame": False},
        **{"views": "1x1", "fps": None, "device": "cpu", "precision": "fp32", "format": "safetensors"},
        **{"shard_size": 4, "listed": len(videos), "list_sha256": videos.sha256()},
    }
    return CorpusSettings(**{**given, **changes})


def outcome(name: str, bad: frozenset[str], per_frame: bool) -> Outcome:
    if name in bad:
        return Failure(f"{name} is bad")
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
    extract = extract or Extractor(per_frame=options.get("per_frame", False))
    corpus = Corpus(out, LIST, settings(**options))
    corpus.run(extract, **running)
    return corpus.finish()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"/" for p in folder.rglob("*")}


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    make(tmp_path / "undisturbed")
    return tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_every_video_is_there_or_listed(per_frame: bool, format: str, tmp_path: Path) -> None:
    options = {"per_frame": per_frame, "format": format}
    manifest = make(tmp_path, Extractor(per_frame=per_frame), **options)
    assert manifest is not None and (manifest.videos, manifest.failed) == (9, 2)
    assert manifest.files == tuple(f"shard-0000{i}.{format}" for i in range(3))
    assert set(tree(tmp_path)) == {*manifest.files, "settings.json", "manifest.json", "failures.csv"}
    found: dict[str, tuple[Any, Any]] = {}
    for name in manifest.files:
        if format == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            for row in parquet.read_table(tmp_path / name).to_pylist():
                found[row["path"]] = (row["features"], row.get("timestamps"))
            continue
        shard, paths = load_file(tmp_path / name), read_contents(tmp_path / name).paths
        for i, path in enumerate(paths):
            rows = slice(*shard["offsets"][i : i + 2]) if per_frame else i
            found[path] = (shard["features"][rows], shard["timestamps"][rows] if per_frame else None)
    assert list(found) == [name for name in NAMES if name not in BAD]
    for name, (data, times) in found.items():
        expected = outcome(name, BAD, per_frame)
        assert isinstance(expected, Features)
        np.testing.assert_array_equal(np.array(data, np.float32), expected.data)
        if per_frame:
            np.testing.assert_array_equal(times, expected.timestamps)
    with (tmp_path / "failures.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            *([name, f"{name} is bad"] for name in ("3.mp4", "10.mp4")),
        ]
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["settings"]["weights_sha256"] == "0" and written["videos"] == 9
    assert [file["failed"] for file in written["files"]] == [1, 0, 1]
    frames = sum(len(data) for data, _ in found.values()) if per_frame else 9
    assert manifest.frames == frames


def test_an_interrupted_run_does_nothing_twice(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    asked: list[str] = []
    for stop in (0, 2, 3, 4, 100):
        extract = Extractor(stop=stop)
        try:
            make(tmp_path / "out", extract)
        except KeyboardInterrupt:
            assert not (tmp_path / "out" / "manifest.json").exists()
        asked += extract.asked
    assert asked == list(NAMES)
    assert tree(tmp_path / "out") == undisturbed


def test_done_before_counts_as_done(tmp_path: Path) -> None:
    told: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Extractor(stop=6))
    make(tmp_path, progress=told.append)
    assert {p.total for p in told} == {11}
    assert told[0].done == 4 and told[-1].done == 11
    assert [str(p.failed) for p in told if p.failed] == ["10.mp4: 10.mp4 is bad"]
    told.clear()
    make(tmp_path, progress=told.append)
    assert [(p.done, p.total) for p in told] == [(11, 11)]


@pytest.mark.parametrize("worlds", [(1, 2), (2, 3), (3, 1), (2, 5)])
def test_any_number_of_processes(worlds: tuple[int, int], tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    first, then = worlds
    for rank in range(first):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "out", Extractor(stop=3 - rank), rank=rank, world=first)
    finished = [make(tmp_path / "out", rank=rank, world=then) for rank in reversed(range(then))]
    assert finished[-1] is not None
    assert tree(tmp_path / "out") == undisturbed


def test_processes_share_the_videos(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    extracts = [Extractor() for _ in range(4)]
    manifests = [make(tmp_path / "out", extract, rank=rank, world=4) for rank, extract in enumerate(extracts)]
    assert [extract.asked for extract in extracts] == [list(NAMES[:4]), list(NAMES[4:8]), list(NAMES[8:]), []]
    assert manifests[:2] == [None, None] and manifests[2] == manifests[3] is not None
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("format", ["safetensors", "parquet"])
@pytest.mark.parametrize("per_frame", [False, True])
def test_retry_tries_what_failed_and_nothing_else(per_frame: bool, format: str, tmp_path: Path) -> None:
    options = {"per_frame": per_frame, "format": format}
    make(tmp_path / "out", **options)
    before = tree(tmp_path / "out")
    extract = Extractor(per_frame=per_frame)
    assert make(tmp_path / "out", extract, **options) is not None and extract.asked == []
    make(tmp_path / "out", extract, **options, retry=True)
    assert extract.asked == ["3.mp4", "10.mp4"]
    assert tree(tmp_path / "out") == before
    mended = Extractor(bad=frozenset({"10.mp4"}), per_frame=per_frame, stop=1)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", mended, **options, retry=True)
    assert not (tmp_path / "out" / "manifest.json").exists()
    mended = Extractor(bad=frozenset(), per_frame=per_frame)
    manifest = make(tmp_path / "out", mended, **options, retry=True)
    assert manifest is not None and manifest.failed == 0 and mended.asked == ["10.mp4"]
    make(tmp_path / "never failed", Extractor(bad=frozenset(), per_frame=per_frame), **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "never failed")


def _killed_at_line(line: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that kills itself before the `line`-th line of the package; whether it came so far."""
    if (child := os.fork()) == 0:
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

        code = 3
        try:
            sys.settrace(trace)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _killed_everywhere(tmp_path: Path, stride: int, *, retry: bool) -> None:
    """A run for each `stride`-th line at which it may be killed, and a second kill on the way on."""
    few = 6
    videos = VideoList(NAMES[:few], LIST.paths[:few])
    bad = frozenset({"1.mp4", "4.mp4"})

    def run(out: Path, bad: frozenset[str]) -> list[str]:
        log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        extract = Extractor(bad=bad)

        def logged(paths: Sequence[Path]) -> Iterator[Outcome]:
            for path, came in zip(paths, extract(paths), strict=True):
                os.write(log, f"{path}\n".encode())
                yield came

        corpus = Corpus(out, videos, settings(videos, shard_size=3))
        corpus.run(logged, retry=retry)
        assert corpus.finish() is not None
        os.close(log)
        return out.with_suffix(".log").read_text().split()

    def begin(out: Path) -> None:
        if retry:
            corpus = Corpus(out, videos, settings(videos, shard_size=3))
            corpus.run(Extractor(bad=bad))
            corpus.finish()

    after = frozenset() if retry else bad
    begin(tmp_path / "undisturbed")
    once = run(tmp_path / "undisturbed", after)
    expected = tree(tmp_path / "undisturbed")
    line, came_so_far = 1, True
    while came_so_far:
        out = tmp_path / f"killed_{line}"
        begin(out)
        came_so_far = _killed_at_line(line, lambda out=out: run(out, after))
        kills = came_so_far + _killed_at_line(line // 2 + 40, lambda out=out: run(out, after))
        asked = run(out, after)
        assert tree(out) == expected, f"killed at line {line}"
        assert set(asked) == set(once) and len(asked) <= len(once) + kills
        line += stride
    assert line > 500, "few lines were there to be killed at"


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@needs_fork
@forks
@pytest.mark.parametrize("retry", [False, True])
def test_killed_at_some_lines(retry: bool, tmp_path: Path) -> None:
    _killed_everywhere(tmp_path, 211, retry=retry)


@needs_fork
@forks
@pytest.mark.slow
@pytest.mark.parametrize("retry", [False, True])
def test_killed_at_many_lines(retry: bool, tmp_path: Path) -> None:
    _killed_everywhere(tmp_path, 7, retry=retry)


def _three(path: Path) -> tuple[list[Outcome], list[int]]:
    """A journal of three records at `path`: what they are, and where each begins and the last ends."""
    outcomes = [outcome("a", BAD, True), Failure("no such file"), outcome("b", BAD, True)]
    ends = [0]
    with Journal(path) as journal:
        for position, each in enumerate(outcomes):
            journal.append(position, each)
            ends.append(path.stat().st_size)
    return outcomes, ends


def _same(first: Outcome, second: Outcome) -> bool:
    if isinstance(first, Failure) or isinstance(second, Failure):
        return first == second
    return np.array_equal(first.data, second.data) and np.array_equal(first.timestamps, second.timestamps)


def test_a_torn_record_is_cut_off_and_the_others_are_kept(tmp_path: Path) -> None:
    outcomes, ends = _three(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    path = tmp_path / "torn"
    for size in range(ends[2], ends[3]):
        for tail in (b"", b"\0" * 40) if size % 8 == 0 else (b"",):
            if size + len(tail) >= ends[3] and not tail.strip(content[size : ends[3]]):
                continue
            path.write_bytes(content[:size] + tail)
            with Journal(path) as journal:
                assert list(journal.places) == [0, 1] and journal.failed == {1}
                assert path.stat().st_size == ends[2]
                journal.append(2, outcomes[2])
            assert path.read_bytes() == content


@examples(max_examples=25)
@given(st.data())
def test_a_flipped_byte_is_never_believed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    outcomes, ends = _three(folder / "journal")
    content = bytearray((folder / "journal").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / "journal").write_bytes(content)
    whole = next(i for i in range(3) if place < ends[i + 1])
    with Journal(folder / "journal") as journal:
        assert list(journal.places) == list(range(whole))
        assert all(map(_same, journal.outcomes(range(whole)), outcomes))


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "journal"), pytest.raises(VideoMambaError, match="another process writes it"):
        Journal(tmp_path / "journal")
    with Journal(tmp_path / "journal") as journal:
        assert journal.places == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": "4x3"}, "views 1x1, not 4x3"),
        ({"per_frame": True}, "per_frame False, not True"),
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


def test_a_moved_checkpoint_is_the_same_model(tmp_path: Path) -> None:
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
    with pytest.raises(VideoMambaError, match="cannot be made a folder"):
        make(tmp_path / "file")
    (tmp_path / "shard-00000.safetensors").write_text("")
    with pytest.raises(VideoMambaError, match=r"holds shards but no settings\.json"):
        make(tmp_path)
    make(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.safetensors").write_bytes(b"short")
    with pytest.raises(VideoMambaError, match=r"shard-00001.*is damaged"):
        make(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.safetensors").unlink()
    assert make(tmp_path / "out") is not None
    (tmp_path / "out" / "settings.json").write_text("{}")
    with pytest.raises(VideoMambaError, match=r"settings\.json: is damaged or of another version"):
        make(tmp_path / "out")


def test_a_full_disk_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    synced = 0

    def fsync(file: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 9:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(VideoMambaError, match=r"shard-.*No space left on device"):
        make(tmp_path / "out")
    monkeypatch.undo()
    extract = Extractor()
    make(tmp_path / "out", extract)
    assert 0 < len(extract.asked) < len(NAMES)
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_journal_on_a_full_disk() -> None:
    with Journal(Path("/dev/full")) as journal, pytest.raises(VideoMambaError, match="/dev/full: cannot be written"):
        journal.append(0, Failure("bad"))


def test_a_shard_of_failures_alone(tmp_path: Path) -> None:
    for format in ("safetensors", "parquet"):
        manifest = make(tmp_path / format, Extractor(bad=frozenset(NAMES)), format=format)
        assert manifest is not None and (manifest.videos, manifest.failed) == (0, 11)
    assert load_file(tmp_path / "safetensors" / "shard-00000.safetensors")["features"].shape == (0, DIM)
    assert list(read_features(tmp_path / "safetensors" / "shard-00000.safetensors")) == []


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = "caf\udce9.mp4"
    videos = VideoList((name, "b.mp4"), (Path(name), Path("b.mp4")))
    for format in ("safetensors", "parquet"):
        for bad in (frozenset(), frozenset({name})):
            out = tmp_path / f"{format}{len(bad)}"
            corpus = Corpus(out, videos, settings(videos, format=format))
            corpus.run(Extractor(bad=bad))
            corpus.finish()
            assert (b"caf\\udce9.mp4" in (out / "failures.csv").read_bytes()) == bool(bad)
    assert read_contents(tmp_path / "safetensors0" / "shard-00000.safetensors").paths == videos.names


def test_blocks_make_up_a_file_that_the_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    whole = Blocks("<i8", (2,), [np.array([7, 8])])
    write_safetensors(path, {"n": whole, "x": Blocks("<f4", (4, 3), (row for row in rows))}, {"b": "é", "a": "1"})
    found = load_file(path)
    np.testing.assert_array_equal(found["x"], rows)
    np.testing.assert_array_equal(found["n"], [7, 8])
    with pytest.raises(ValueError, match="do not make up"):
        write_safetensors(path, {"x": Blocks("<f4", (5, 3), iter(rows))}, {})
    np.testing.assert_array_equal(load_file(path)["x"], rows)


def test_lists_of_videos(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a, b.mp4\n\n sub/c d.mp4 \n/abs/e.mp4\n")
    found = read_videos([tmp_path / "list.txt"])
    assert found.names == ("a, b.mp4", "sub/c d.mp4", "/abs/e.mp4")
    assert found.paths == (tmp_path / "a, b.mp4", tmp_path / "sub/c d.mp4", Path("/abs/e.mp4"))
    (tmp_path / "list.csv").write_text('label,path\n1,"a, b.mp4"\n2,c.mp4\n')
    assert read_videos([tmp_path / "list.csv"]).names == ("a, b.mp4", "c.mp4")
    (tmp_path / "one.csv").write_text("path\na.mp4\nb c.mp4\n")
    assert read_videos([tmp_path / "one.csv"]).names == ("a.mp4", "b c.mp4")
    for name, text, message in (
        ("empty.txt", " \n", r"empty\.txt: holds no videos"),
        ("none.csv", "label,path\n1,\n", "line 2: has no path"),
        ("bare.csv", "1,a.mp4\n", "line 1: has 2 columns, expected path"),
        ("absent.csv", None, r"absent\.csv: cannot be read"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(VideoMambaError, match=message):
            read_videos([tmp_path / name])


def test_folders_and_files(tmp_path: Path) -> None:
    for name in ("b/10.mp4", "b/9.mp4", "a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_videos([tmp_path]).names == ("a.mp4", "b/9.mp4", "b/10.mp4")
    files = [str(tmp_path / "b/10.mp4"), str(tmp_path / "a.mp4")]
    assert read_videos(files).names == tuple(files)
    assert read_videos(files[:1]).names == (files[0],)
    with pytest.raises(VideoMambaError, match="is a folder beside others"):
        read_videos([tmp_path / "b", tmp_path / "a.mp4"])
    with pytest.raises(VideoMambaError, match="is a list beside others"):
        read_videos([tmp_path / "a.mp4", tmp_path / "list.txt"])
