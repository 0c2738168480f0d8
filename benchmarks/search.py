"""What a search costs and finds: latency and recall on a large table, an index that is killed and changed, real clips.

    python benchmarks/search.py table [--vectors 1000000] [--dim 256] [--queries 50]
    python benchmarks/search.py index [--files 1000] [--kills 10] [--changed 200] [--deleted 50] [--model NAME]
    python benchmarks/search.py clips [--folder ../shared/videos] [--seconds 2] [--models NAME ...]

`table` writes synthetic vectors of length 1 around random centres, 50 to a centre, as the windows of a video are alike, and
asks for the 10 nearest of queries from the same distribution: by comparison with all vectors, and by the approximate index.
Recall@10 is the share of the exact answer that the approximate one has.

`index` renders files, indexes them in processes that are killed at random moments, and compares the result with an index that
was never disturbed. Then files are changed and deleted, and the next run must do only that. Last it times searches.

`clips` cuts each video of a folder into pieces of some seconds and searches by each piece: its average precision is 1 if all
other pieces of its clip come before those of other clips. "chance" is the share of such pieces.

The exit code is 1 where an index differs, a run does other work, or a search on 1,000 files takes a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoError
from videomamba.serving.search.facts import FileFacts
from videomamba.serving.search.index import BATCH, IndexProgress, build_index
from videomamba.serving.search.search import Search
from videomamba.serving.search.table import VideoWindows, WindowTable
from videomamba.synthetic.captions import captions
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.video.find import find_videos
from videomamba.video.open import open_video
from videomamba.weights.released import TEXT_MODEL
from videomamba.weights.video_text import is_video_text
from videomamba.weights.zoo import resolve_weights, zoo_entry, zoo_names

WINDOWS = 50  # of a synthetic video, around one centre
APPENDED = 400  # synthetic videos in one commit
NEAR = 0.6  # length of the random part of a vector, of a centre of length 1


def synthetic(generator: np.random.Generator, centres: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """(centres, number, d) of length 1, around each of `centres` (c, d)."""
    dim = centres.shape[1]
    noise = generator.standard_normal((len(centres), number, dim), np.float32) * np.float32(NEAR / dim**0.5)
    vectors = centres[:, None] + noise
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def table(args: argparse.Namespace, folder: Path) -> bool:
    generator = np.random.default_rng(args.seed)
    made = WindowTable.create(str(folder / "table.lance"), "{}", args.dim)
    videos = -(-args.vectors // WINDOWS)
    spans = np.stack([np.arange(WINDOWS) * 1.0, np.arange(WINDOWS) + 2.0], axis=1)
    centres = generator.standard_normal((videos, args.dim), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    started = time.perf_counter()
    for first in range(0, videos, APPENDED):
        vectors = synthetic(generator, centres[first : first + APPENDED], WINDOWS)
        made.append(
            [
                VideoWindows(f"{first + i}.mp4", FileFacts(1, 1), b"", WINDOWS + 1.0, spans, one, (b"",) * WINDOWS)
                for i, one in enumerate(vectors)
            ]
        )
    written = time.perf_counter() - started
    started = time.perf_counter()
    made.settle()
    settled = time.perf_counter() - started
    chosen = generator.choice(videos, args.queries, replace=videos < args.queries)
    queries = synthetic(generator, centres[chosen], 1)[:, 0]
    record: dict[str, object] = {
        "vectors": videos * WINDOWS,
        "dim": args.dim,
        "written_s": written,
        "settled_s": settled,
    }
    answers = {}
    for name, exact in (("exact", True), ("approximate", False)):
        if not exact and not made.approximate:
            continue
        made.nearest(queries[0], 10, exact=exact)
        times, answers[name] = [], []
        for query in queries:
            started = time.perf_counter()
            found = made.nearest(query, 10, exact=exact)
            times.append(time.perf_counter() - started)
            answers[name].append({hit[:2] for hit in found})
        record[f"{name}_median_ms"], record[f"{name}_worst_ms"] = 1000 * np.median(times), 1000 * max(times)
    if "approximate" in answers:
        pairs = zip(answers["exact"], answers["approximate"], strict=True)
        record["recall_at_10"] = float(np.mean([len(a & b) / len(a) for a, b in pairs]))
    show("table", record, args)
    return True


def rows_of(index: Path) -> list[tuple[object, ...]]:
    """All rows but for the times of the files, sorted by path and place; vectors as bytes."""
    opened = WindowTable.open(str(index))
    assert opened is not None
    rows: list[tuple[object, ...]] = []
    for path, known in opened.known().items():
        spans, vectors = opened.vectors_of(path)
        rows.append((path, known.facts.size, known.sha256, known.error, spans.tobytes(), vectors.tobytes()))
    return sorted(rows, key=lambda row: str(row[0]))


def killed(args: argparse.Namespace) -> int:
    """The process that `index` starts: indexes, and kills itself some time after it has written enough videos."""

    def watch(now: IndexProgress) -> None:
        if now.done == args.after:
            threading.Timer(args.delay, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()

    batch = max(1, min(BATCH, args.after // 4))  # with few files too, a kill comes after something was written
    build_index(args.folder, args.out, model=args.model, window=args.window, batch=batch, progress=watch)
    return 0


def index(args: argparse.Namespace, folder: Path) -> bool:
    videos, out = folder / "videos", folder / "killed.lance"
    generator = np.random.default_rng(args.seed)
    for i in range(args.files):
        render(videos / f"{i % 10}" / f"clip{i}.mp4", i)
    deaths = 0
    for _ in range(args.kills):
        after = max(1, args.files // (args.kills + 1))
        options = ("--after", str(after), "--delay", f"{generator.uniform(0, 0.5):.3f}", "--model", args.model)
        command = [sys.executable, __file__, "killed", "--folder", videos, "--out", out, *options]
        code = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
        deaths += code == -signal.SIGKILL
    resumed = build_index(videos, out, model=args.model, window=args.window)
    undisturbed = folder / "undisturbed.lance"
    started = time.perf_counter()
    build_index(videos, undisturbed, model=args.model, window=args.window)
    took = time.perf_counter() - started
    equal = rows_of(out) == rows_of(undisturbed)
    paths = find_videos(videos)
    chosen = generator.permutation(len(paths))
    for i in chosen[: args.changed]:
        render(paths[i], int(i) + args.files)
    for i in chosen[args.changed : args.changed + args.deleted]:
        paths[i].unlink()
    read = 0

    def count(now: IndexProgress) -> None:
        nonlocal read
        read = now.done

    report = build_index(videos, out, model=args.model, window=args.window, progress=count)
    only = (report.added, report.changed, report.gone, read) == (0, args.changed, args.deleted, args.changed)
    shutil.rmtree(undisturbed)
    build_index(videos, undisturbed, model=args.model, window=args.window)
    equal_again = rows_of(out) == rows_of(undisturbed)
    times, sentences = [], []
    for i in range(5):
        started = time.perf_counter()
        Search(out).video(find_videos(videos)[i])
        times.append(time.perf_counter() - started)
        if is_video_text(resolve_weights(args.model)):
            started = time.perf_counter()
            Search(out).text(captions(i, i)[0])
            sentences.append(time.perf_counter() - started)
    record = {
        **{"files": args.files, "windows": report.windows, "kills": deaths, "equal": equal},
        **{"left_after_kills": resumed.added, "undisturbed_s": took, "changed": report.changed, "gone": report.gone},
        **{
            "read_again": read,
            "only_that": only,
            "equal_again": equal_again,
            "search_median_s": float(np.median(times)),
            **({"sentence_median_s": float(np.median(sentences))} if sentences else {}),
        },
    }
    show("index", record, args)
    return equal and only and equal_again and deaths == args.kills and (args.files > 1000 or np.median(times) < 1)


def render(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, render_clip(seed % 16, seed, num_frames=32, height=64, width=80), fps=16)


def clips(args: argparse.Namespace, folder: Path) -> bool:
    pieces = folder / "pieces"
    cut, failed = 0, []
    for path in find_videos(args.folder):
        try:
            cut += pieces_of(path, pieces / path.stem, args.seconds)
        except VideoError as error:
            failed.append(error.path)
    record: dict[str, object] = {"clips": len(list(pieces.iterdir())), "pieces": cut, "unreadable": len(failed)}
    for model in args.models:
        out = folder / f"{Path(model).stem}.lance"
        build_index(pieces, out, model=model, window=args.seconds, stride=args.seconds)
        search, scores = Search(out), []
        names = [path.relative_to(pieces).as_posix() for path in find_videos(pieces)]
        for name in names:
            found = search.like(f"{name}@0", top=len(names), merge="videos")
            right = np.array([hit.path.split("/")[0] == name.split("/")[0] for hit in found if hit.path != name])
            if right.any():
                scores.append(float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean()))
        same = np.mean([sum(n.split("/")[0] == m.split("/")[0] for m in names) - 1 for n in names]) / (len(names) - 1)
        record[f"{Path(model).stem}_map"] = float(np.mean(scores))
        record["chance"] = float(same)
    show("clips", record, args)
    return True


def pieces_of(path: Path, folder: Path, seconds: float) -> int:
    """Cuts a video into complete pieces of `seconds`; a shorter one gives none. Returns their number."""
    with open_video(path) as video:
        end = video.timestamps[-1] + (1 / video.info.fps if video.info.fps else 0)
        number = int(end / seconds + 1e-6)
        if number < 2:
            return 0
        folder.mkdir(parents=True)
        for i in range(number):
            first, last = np.searchsorted(video.timestamps, (i * seconds, (i + 1) * seconds))
            frames = video.frames(range(int(first), int(last))).data
            even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
            write_video(folder / f"{i:03}.mp4", even.numpy(), fps=max(1, round(len(even) / seconds)))
    return number


def show(what: str, record: dict[str, object], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"benchmark": what, **record}), flush=True)
        return
    cells = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in record.items())
    print(f"{what}: {', '.join(cells)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table")
    one.add_argument("--vectors", type=int, default=1_000_000)
    one.add_argument("--dim", type=int, default=256)
    one.add_argument("--queries", type=int, default=50)
    two = commands.add_parser("index")
    two.add_argument("--files", type=int, default=1000)
    two.add_argument("--kills", type=int, default=10)
    two.add_argument("--changed", type=int, default=200)
    two.add_argument("--deleted", type=int, default=50)
    packaged = [name for name in zoo_names() if zoo_entry(name).packaged]
    three = commands.add_parser("clips")
    three.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared" / "videos")
    three.add_argument("--seconds", type=float, default=2.0)
    three.add_argument("--models", nargs="+", default=packaged)
    child = commands.add_parser("killed")
    child.add_argument("--folder", type=Path, required=True)
    child.add_argument("--out", type=Path, required=True)
    child.add_argument("--after", type=int, required=True)
    child.add_argument("--delay", type=float, required=True)
    for command in (two, child):
        command.add_argument("--model", default=TEXT_MODEL)
        command.add_argument("--window", type=float, default=1.0)
    for command in (one, two, three):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.command == "killed":
        return killed(args)
    with tempfile.TemporaryDirectory() as folder:
        return 0 if {"table": table, "index": index, "clips": clips}[args.command](args, Path(folder)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
