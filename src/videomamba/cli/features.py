"""`videomamba features`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, bar, complain, note, print_json, usable_device
from videomamba.corpus.extract import SHARD_SIZE, extract
from videomamba.corpus.features import FeatureConfig, Features
from videomamba.corpus.folder import FAILURES, Progress
from videomamba.corpus.shards import save_features
from videomamba.schema import VideoError, VideoMambaError

if TYPE_CHECKING:
    from videomamba.corpus.video_list import VideoList


def features(
    files: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="FILES_FOLDER_OR_LIST", help="videos; or one folder of them; or one list of paths, .txt or .csv"),
    ],
    /,
    *,
    out: Annotated[
        str | None,
        arg(
            metavar="FILE_OR_DIR",
            help="a .safetensors or .npy file for one video; else a folder, where the same command resumes",
        ),
    ] = None,
    model: Annotated[
        str, arg(help="zoo name (see `videomamba zoo`) or weights file, which needs no head")
    ] = "videomamba_micro_synthetic",
    views: Annotated[str, arg(help="clips x crops to average over, such as 1x1 or 4x3")] = "1x1",
    per_frame: Annotated[
        float | Literal["all"] | None,
        arg(
            metavar="RATE",
            help="one vector for each moment of a whole-video pass, with its time; RATE is frames a second, or all",
        ),
    ] = None,
    frames: Annotated[int | None, arg(metavar="T", help="frames in a clip; default: as the model was trained")] = None,
    size: Annotated[
        int | None, arg(metavar="PIXELS", help="side of the picture; default: as the model was trained")
    ] = None,
    format: Annotated[Literal["safetensors", "parquet"], arg(help="of the shards in a folder")] = "safetensors",
    shard_size: Annotated[
        int, arg(metavar="VIDEOS", help="videos in a file of the folder; an interruption loses at most one such shard")
    ] = SHARD_SIZE,
    retry: Annotated[bool, arg(help="try again the videos of a folder that failed before")] = False,
    engine: Annotated[
        Literal["local", "ray"], arg(help="what fills a folder: this process, or the workers of a Ray cluster")
    ] = "local",
    device: Annotated[str, arg(help="cpu, cuda, mps, ...")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is always fp32")] = "fp32",
    json: Json = False,
) -> int:
    """Turn videos into vectors. Without --out they are described, or printed with --json.

    A folder as --out takes any number of videos. The run may be interrupted at any moment, and the same command resumes it.
    Under torchrun each process does its share; --engine ray uses a cluster. Videos that fail are listed, the others are
    still done, and the exit code is then 1 (under torchrun, that of the process that ends last).
    """
    from videomamba.corpus.video_list import read_videos

    if not files:
        raise VideoMambaError(
            "features: no file given; try `videomamba features clip.mp4` or `videomamba features --help`"
        )
    if "" in files or out == "":
        raise VideoMambaError('features: "" names no file; is a variable of the command line empty?')
    file = None if out is None else _file(out)
    folder = out is not None and file is None
    if not folder and (retry, format, shard_size, engine) != (False, "safetensors", SHARD_SIZE, "local"):
        raise VideoMambaError("--retry, --format, --shard-size and --engine need a folder as --out")
    config = FeatureConfig(model, views, per_frame, frames, size, device, precision)
    if engine == "local":
        config = replace(config, device=usable_device(_own_device(device)))
    videos = read_videos(files)
    if file is not None and len(videos) > 1:
        raise VideoMambaError(f"--out {out}: holds one video, here are {len(videos)}; give a folder, without a dot")
    if out is None:
        return _print(config, videos, json=json)
    if file is not None:
        return _save(config, videos, file, json=json)
    rank, world = _process()
    if len(videos) <= (world - 1) * shard_size:
        note(f"{len(videos)} videos in shards of {shard_size} leave some of {world} processes without work")
    if per_frame is not None:
        note("temporal positions are stretched by linear interpolation to videos longer than the network's clip")
    with _Bar() as shown:
        done = extract(
            videos,
            out,
            config,
            format=format,
            shard_size=shard_size,
            retry=retry,
            engine=engine,
            rank=rank,
            world=world,
            progress=shown.videos,
            stages=shown.stage,
        )
    if done is None:
        note(f"{out}: this process has done its share; the last to end writes the manifest")
        return 0  # even with failures: at another code torchrun would end the processes that still work
    end = f"{out}: features of {done.videos} videos in {len(done.files)} shard{'s' * (len(done.files) != 1)}"
    if done.failed:
        end += f"; {done.failed} failed, see {Path(out) / FAILURES}; the exit code is 1"
    if json:
        print_json({"out": out, **vars(done)})
    print(end, file=sys.stderr if json or rank else sys.stdout, flush=True)
    return 1 if done.failed else 0


def _file(out: str) -> Path | None:
    """The file for one video that `out` names, None where it names a folder."""

    path = Path(out)
    if not path.suffix or path.is_dir() or out.endswith(("/", os.sep)):
        return None
    if path.suffix not in (".safetensors", ".npy"):
        raise VideoMambaError(f"--out {out}: give a .safetensors or .npy file for one video, or a folder without a dot")
    return path


def _own_device(name: str) -> str:
    """Of several processes on a machine each takes a GPU of its own."""
    if name != "cuda" or "LOCAL_RANK" not in os.environ:
        return name
    import torch

    return f"cuda:{int(os.environ['LOCAL_RANK']) % max(torch.cuda.device_count(), 1)}"


def _process() -> tuple[int, int]:
    """(number of this process, number of all), as torchrun says it."""

    rank, world = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise VideoMambaError(f"RANK={rank} WORLD_SIZE={world}: RANK must count from 0 to WORLD_SIZE - 1; unset both")
    return int(rank), int(world)


def _print(config: FeatureConfig, videos: VideoList, *, json: bool) -> int:

    failures: tuple[VideoError, ...] = ()
    with _Bar() as shown:
        outcomes = config.outcomes(config.open(), videos.paths, shown.stage)
        for done, (path, found) in enumerate(zip(videos.paths, outcomes, strict=True), 1):
            failed = (found,) if isinstance(found, VideoError) else ()
            shown.videos(Progress(done, len(videos), failed))
            failures += failed
            with shown.hidden():
                if json:
                    about = {"error": found.reason} if isinstance(found, VideoError) else found.as_dict()
                    print_json({"path": str(path), **about})
                elif not isinstance(found, VideoError):
                    print(f"{path}  {_line(found)}", flush=True)
    return 1 if failures else 0


def _line(found: Features) -> str:
    numbers = " x ".join(map(str, found.data.shape))
    if found.timestamps is None:
        return f"{numbers} numbers, norm {(found.data**2).sum() ** 0.5:.4g}"
    return f"{numbers} numbers, 0 to {found.timestamps[-1]:.2f} s, {found.about['temporal_positions']}"


def _save(config: FeatureConfig, videos: VideoList, out: Path, *, json: bool) -> int:

    (name,) = videos.names
    with _Bar() as shown:
        (found,) = config.outcomes(config.open(), videos.paths, shown.stage)
    if isinstance(found, VideoError):
        raise found
    about = {"path": name, "model": config.model}
    if found.timestamps is None:
        about["views"] = config.views
    else:
        about["temporal_positions"] = str(found.about["temporal_positions"])
        note(f"{name}: {about['temporal_positions']}")
    save_features(out, found, about)
    if json:
        print_json({"out": str(out), "shape": found.data.shape, **about})
    else:
        print(f"{out}: features {' x '.join(map(str, found.data.shape))} of {name}")
    return 0


class _Bar:
    """Videos done, on stderr where that is a terminal, and failures as they come; of several processes the first has one."""

    def __init__(self) -> None:
        self._bar = bar(disable=not (os.environ.get("RANK", "0") == "0" and sys.stderr.isatty()))
        self._failed, self._count = 0, "videos"
        self._task = self._bar.add_task(self._count, total=None)

    def videos(self, now: Progress) -> None:
        self._failed += len(now.failures)
        with self.hidden():
            for failure in now.failures:
                complain(str(failure))
        self._count = f"videos {now.done}/{now.total}" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, description=self._count, completed=now.done, total=now.total)

    def stage(self, stage: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=f"{self._count}, {stage} {100 * done // total} %")

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While something else is printed, perhaps to the same terminal."""
        self._bar.stop()
        yield
        self._bar.start()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
