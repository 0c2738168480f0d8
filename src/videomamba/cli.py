"""The command line: parses, then calls one function. Each command imports what it needs when it runs."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import tyro
from tyro.conf import Positional, arg

from videomamba import __version__

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Json = Annotated[bool, arg(help="print JSON lines for a program instead of a table")]


def predict(
    files: Annotated[
        Positional[tuple[str, ...]], arg(metavar="FILES_OR_FOLDERS", help="videos, images, or folders of them")
    ],
    /,
    *,
    model: Annotated[
        str, arg(help="zoo name (see `videomamba zoo`) or checkpoint file")
    ] = "videomamba_micro_synthetic",
    top: Annotated[int, arg(help="classes to show for each video")] = 5,
    views: Annotated[str, arg(help="clips x crops to average over, such as 1x1 or 4x3")] = "1x1",
    labels: Annotated[
        Path | None, arg(metavar="FILE", help="text file with one class name a line, for a checkpoint without names")
    ] = None,
    frames: Annotated[
        int | None, arg(metavar="T", help="frames in a clip; default: what the model was trained with")
    ] = None,
    size: Annotated[
        int | None,
        arg(metavar="PIXELS", help="side of the picture in pixels; default: what the model was trained with"),
    ] = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, ...")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is fp32 always")] = "fp32",
    json: Json = False,
) -> int:
    """Classify videos. Files that fail are named on stderr, the others are still done, and the exit code is then 1."""
    from videomamba.data.decode import find_videos
    from videomamba.evaluation.views import Views
    from videomamba.schema import VideoError, VideoMambaError
    from videomamba.serving.predictor import Predictor, read_labels

    if not files:
        raise VideoMambaError(
            "predict: no file given; try `videomamba predict clip.mp4` or `videomamba predict --help`"
        )
    if "" in files:
        raise VideoMambaError('predict: "" names no file; an empty variable in the command line?')
    if top < 1:
        raise VideoMambaError(f"--top {top}: at least one class must be shown")
    parsed = Views.parse(views)
    predictor = Predictor.from_pretrained(
        model,
        labels=None if labels is None else read_labels(labels),
        num_frames=frames,
        image_size=size,
        device=_device(device),
        precision=precision,
    )
    paths: list[Path | VideoError] = []
    for given in files:
        try:
            paths += find_videos(given)
        except VideoError as error:
            paths.append(error)
    readable = [path for path in paths if isinstance(path, Path)]
    answers = predictor.predict_many(readable, top=top, views=parsed)
    merged = (path if isinstance(path, VideoError) else next(answers) for path in paths)

    failed = 0
    for answer in _progress(merged, total=len(paths), what="predicting"):
        if isinstance(answer, VideoError):
            failed += 1
            _complain(str(answer))
            if json:
                _print_json({"path": answer.path, "error": answer.reason})
        elif json:
            _print_json(answer.as_dict())
        else:
            print(f"{answer.path}  ({answer.seconds:.2f} s)")
            rows = [[p.label, f"{100 * p.score:.1f} %", "#" * round(30 * p.score)] for p in answer.predictions]
            _print_table(["class", "score", ""], rows, left=(0, 2))
    return 1 if failed else 0


def synth(
    out: Annotated[Positional[str], arg(metavar="FOLDER", help="where the data set is written")],
    /,
    *,
    clips_per_class: Annotated[int, arg(help="videos of each of the 16 classes")] = 10,
    seed: Annotated[int, arg(help="different seeds never share a scene")] = 0,
    num_frames: Annotated[int, arg(help="frames in a video")] = 32,
    fps: Annotated[int, arg(help="frames a second")] = 16,
    height: Annotated[int, arg(help="pixels, even")] = 128,
    width: Annotated[int, arg(help="pixels, even")] = 160,
    crf: Annotated[int, arg(help="H.264 quality: 0 lossless, 23 usual, 51 worst")] = 23,
    style: Annotated[str, arg(help="look of shapes, colours and backgrounds: default or line")] = "default",
    paired: Annotated[bool, arg(help="clip i of both members of a pair show the same scene, one backwards")] = False,
    workers: Annotated[int, arg(help="processes that render")] = 1,
) -> int:
    """Write a labelled data set of synthetic actions as real H.264 files: 16 motions in 8 time-reversed pairs.

    Deterministic by its options; goes on where it stopped. A folder per class, annotations.csv with captions, labels.txt.
    """
    from videomamba.data.synthetic import write_dataset
    from videomamba.schema import VideoMambaError

    if not out:
        raise VideoMambaError('synth: "" names no folder; an empty variable in the command line?')
    with _counter("rendering") as tick:
        clips = write_dataset(
            Path(out),
            clips_per_class=clips_per_class,
            seed=seed,
            num_frames=num_frames,
            fps=fps,
            height=height,
            width=width,
            crf=crf,
            style=style,
            paired=paired,
            workers=workers,
            progress=tick,
        )
    print(f"{len(clips)} videos of {len({clip.name for clip in clips})} classes in {out}")
    return 0


def zoo(
    name: Annotated[
        Positional[str | None], arg(metavar="NAME", help="one checkpoint, with all that is known of it")
    ] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """List the released checkpoints: frames, resolution, protocol, reported accuracy, known faults."""
    from videomamba.models.zoo import preprocess_of, zoo_entry, zoo_names
    from videomamba.models.zoo_table import ZooEntry
    from videomamba.schema import Preprocess, WeightsError

    def known_preprocess(entry: ZooEntry) -> Preprocess | None:
        """None where only the packaged file could tell and it is absent or damaged: the others are listed all the same."""
        try:
            return preprocess_of(entry)
        except WeightsError:
            return None

    entries = [zoo_entry(n) for n in ([name] if name else zoo_names())]
    facts = [
        {
            "name": e.name,
            "architecture": e.architecture,
            "kind": e.kind,
            "dataset": e.dataset,
            "file": e.file,
            "frames": preprocess and preprocess.num_frames,
            "resolution": preprocess and "x".join(map(str, preprocess.image_size)),
            "clips_x_crops": f"{e.clips}x{e.crops}",
            "reported_top1": e.top1,
            "zero_shot_recall_at_1": dict(e.zero_shot),
            "starts_from": e.init,
            "faults": list(e.faults),
            "notes": list(e.notes),
        }
        for e, preprocess in zip(entries, map(known_preprocess, entries), strict=True)
    ]
    if json:
        for fact in facts:
            _print_json(fact)
    elif name:
        for key, value in facts[0].items():
            for item in value if isinstance(value, list) else [value]:
                print(f"{key.replace('_', ' '):>22}  {item if item not in (None, {}) else '-'}")
    else:
        columns = ("name", "frames", "resolution", "clips_x_crops", "reported_top1")
        rows = [[*(str(f[c] if f[c] is not None else "-") for c in columns), "!" if f["faults"] else ""] for f in facts]
        _print_table([*(c.replace("_", " ") for c in columns), "faults"], rows)
        print("`videomamba zoo NAME` tells the faults and everything else.")
    return 0


def convert(
    weights: Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or checkpoint file")],
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write")],
    /,
    *,
    to: Annotated[
        Literal["bundle", "video", "image"], arg(help="our safetensors bundle, or the original's .pth formats")
    ] = "bundle",
    frames: Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")] = None,
    size: Annotated[
        int | None, arg(metavar="PIXELS", help="resize the spatial positions to this side in pixels")
    ] = None,
) -> int:
    """Turn a released image or video checkpoint into a bundle with its class names, or write the original's format."""
    from videomamba.models.bundle import save_bundle
    from videomamba.models.checkpoint import save_original
    from videomamba.serving.predictor import Predictor

    predictor = Predictor.from_pretrained(weights, num_frames=frames, image_size=size)
    if to == "bundle":
        save_bundle(out, predictor.model, predictor.preprocess, predictor.labels, {"converted_from": str(weights)})
    else:
        save_original(predictor.model, out, to)
    print(out)
    return 0


def doctor(*, json: Json = False) -> int:
    """Say what is installed and which backend serves which operator on this machine, and why."""
    from videomamba.serving.doctor import examine

    findings = examine()
    for finding in findings:
        if json:
            _print_json(finding.as_dict())
        else:
            print(f"{'  ' if finding.ok else '! '}{finding.topic:>32}  {finding.finding}")
    return 0


def bench(
    what: Annotated[
        Positional[Literal["ops", "model", "flops"]],
        arg(
            metavar="{ops,model,flops}",
            help="ops: both operators on every backend, and the limits of this machine. "
            "model: a network beside its own matrix products, where its time goes, how it grows with the clip. "
            "flops: its arithmetic, counted without running it",
        ),
    ],
    /,
    *,
    model: Annotated[str, arg(help="architecture, with random weights (`ops`: whose layer sizes)")] = "videomamba_tiny",
    frames: Annotated[int, arg(metavar="T", help="frames in the clip")] = 16,
    size: Annotated[int | None, arg(metavar="PIXELS", help="side of the picture; default: the architecture's")] = None,
    dtype: Annotated[Literal["fp32", "bf16", "both"], arg(help="of the ops' inputs, of matrix products")] = "both",
    runs: Annotated[int, arg(help="counted runs of each call; 3 at most of those longer than a second")] = 9,
    lengths: Annotated[
        tuple[int, ...] | None,
        arg(metavar="T [T ...]", help="model: frames of the clips for the growth; default: 8 16 32 64 128 256 512"),
    ] = None,
    plot: Annotated[
        Path | None, arg(metavar="FILE.png", help="model: draw time and memory against the length; needs matplotlib")
    ] = None,
    as_published: Annotated[
        bool, arg(help="flops: count as the paper did, without the state space model between the outer projections")
    ] = False,
    json: Json = False,
) -> int:
    """Measure this machine: medians between quartiles, ratios within one run, memory, limits. Minutes at full size."""
    from videomamba.schema import VideoMambaError
    from videomamba.serving.bench import run

    for option, given, of in (
        ("--lengths", lengths is not None, "model"),
        ("--plot", plot is not None, "model"),
        ("--as-published", as_published, "flops"),
    ):
        if given and what != of:
            raise VideoMambaError(f"{option}: belongs to `videomamba bench {of}`")
    figures = run.run(
        what,
        model=model,
        frames=frames,
        size=size,
        dtype=dtype,
        runs=runs,
        lengths=lengths,
        plot=plot,
        as_published=as_published,
    )
    for table, lines in itertools.groupby(_waiting(figures, what="measuring"), key=lambda figure: figure.table):
        if json:
            for figure in lines:
                _print_json(figure.as_dict())
        else:
            cells = [figure.cells for figure in lines]
            columns = list(dict.fromkeys(column for row in cells for column in row))
            rows = [[_cell(row.get(column)) for column in columns] for row in cells]
            print(table)
            _print_table(columns, rows)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "predict": predict,
    "synth": synth,
    "zoo": zoo,
    "convert": convert,
    "bench": bench,
    "doctor": doctor,
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and exits: 0 done, 1 a file or an input was bad, 2 the command line was, 130 interrupted."""
    from videomamba.schema import VideoMambaError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        print(end="", flush=True)
    except VideoMambaError as error:
        _complain(str(error))
        code = 1
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept")
        code = 130
    except BrokenPipeError:  # the reader has gone, as in `videomamba zoo | head`
        _forget_output()
        code = 0
    except OSError as error:
        if error.filename is None:  # no file: the output itself, as in `videomamba zoo > /dev/full`
            _forget_output()
        _complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        code = 1
    raise SystemExit(code)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(__version__)
        return 0
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="videomamba",
            description="Video understanding in time linear in its length.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        return code
    except SystemExit as stop:  # after --help or a command line that it refused, tyro exits
        return int(stop.code or 0)


def _forget_output() -> None:
    """Points stdout at nothing, so that what it still holds does not fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    print(f"videomamba: {message}", file=sys.stderr, flush=True)


def _print_json(record: object) -> None:
    from videomamba.schema import VideoMambaError

    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise VideoMambaError(f"{record}: is no JSON ({error}); are the weights damaged?") from None
    print(line, flush=True)


def _device(name: str) -> str:
    import torch

    from videomamba.schema import VideoMambaError

    try:
        torch.zeros(1, device=name).item()  # a device such as "meta" makes tensors that hold nothing
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise VideoMambaError(f"--device {name}: not usable here ({reason}); try --device cpu") from None
    return name


def _print_table(columns: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> None:
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
    with console.capture() as drawn:  # not printed by rich, which exits with code 1 where the reader has gone
        console.print(table)
    print(drawn.get(), end="", flush=True)


def _progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """`items` with a bar on stderr, where that is a terminal and there is more than one."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            bar.stop()  # while the answer is printed, perhaps to the same terminal
            yield item
            bar.start()
            bar.advance(task)


def _bar(*, disable: bool = False) -> Progress:
    """A bar on stderr. Rich would else send there what is printed to stdout as well, even where that is a file."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False, disable=disable)


def _waiting(items: Iterable[Item], *, what: str) -> Iterator[Item]:
    """`items`, whose number nobody knows, with a sign of life on stderr between them where that is a terminal."""
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


def _cell(value: str | float | None) -> str:
    """Four significant digits of a number, all digits of a large one."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)


@contextmanager
def _counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that moves a bar on stderr; it does nothing where that is no terminal."""
    with _bar(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)
