"""`videomamba features`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, bar, complain, note, print_json, progress, stages, usable_device

if TYPE_CHECKING:
    from torch import Tensor

    from videomamba.corpus.extract import Corpus, Progress
    from videomamba.corpus.video_list import VideoList
    from videomamba.schema import VideoError
    from videomamba.serving.embedder import Embedder, Embedding
    from videomamba.serving.whole import Stages, WholeVideo


SHARD_SIZE = 1000


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
            help="for one video a .safetensors or .npy file; else a folder, to which the same command may come back",
        ),
    ] = None,
    model: Annotated[
        str, arg(help="zoo name (see `videomamba zoo`) or weights file, which needs no head")
    ] = "videomamba_micro_synthetic",
    views: Annotated[str, arg(help="clips x crops to average over, such as 1x1 or 4x3")] = "1x1",
    per_frame: Annotated[
        bool, arg(help="look at all of a video in one pass: one vector for each moment, with its time")
    ] = False,
    fps: Annotated[
        float | None, arg(metavar="RATE", help="with --per-frame: frames of a second to look at; default: all")
    ] = None,
    frames: Annotated[
        int | None, arg(metavar="T", help="frames in a clip; default: what the model was trained with")
    ] = None,
    size: Annotated[
        int | None,
        arg(metavar="PIXELS", help="side of the picture in pixels; default: what the model was trained with"),
    ] = None,
    format: Annotated[Literal["safetensors", "parquet"], arg(help="of the shards in a folder")] = "safetensors",
    shard_size: Annotated[
        int, arg(metavar="VIDEOS", help="videos in a shard; a process does whole shards")
    ] = SHARD_SIZE,
    retry: Annotated[bool, arg(help="try the videos again that failed before")] = False,
    device: Annotated[str, arg(help="cpu, cuda, mps, ...")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is fp32 always")] = "fp32",
    json: Json = False,
) -> int:
    """Turn videos into vectors. Without --out they are described, or with --json printed.

    A folder as --out takes any number of videos, may be interrupted and gone on with, and under torchrun each process takes
    its share. Videos that fail are listed, the others are still done, and the exit code is then 1 (under torchrun that of the
    process that finishes last).
    """
    from videomamba.corpus.video_list import read_videos
    from videomamba.schema import VideoMambaError
    from videomamba.serving.embedder import Embedder

    _check(files, out, views, fps, frames, shard_size, per_frame=per_frame)
    folder = None if out is None or _is_file(out) else Path(out)
    if folder is None and (retry or format != "safetensors" or shard_size != SHARD_SIZE):
        raise VideoMambaError("--retry, --format and --shard-size go with a folder as --out")
    videos = read_videos(files)
    if out is not None and folder is None and len(videos) > 1:
        raise VideoMambaError(
            f"--out {out}: holds one video, here are {len(videos)}; give a folder's name, without a dot"
        )
    embedder = Embedder.from_pretrained(
        model, num_frames=frames, image_size=size, device=usable_device(_own_device(device)), precision=precision
    )
    look = _Look(embedder, views, per_frame, fps)
    if out is None:
        return _show(look, videos, json=json)
    if folder is None:
        return _save(look, videos, Path(out), model=model, json=json)
    from videomamba.corpus.extract import Corpus, settings_of

    settings = settings_of(
        embedder,
        videos,
        model=model,
        views=views,
        per_frame=per_frame,
        fps=fps,
        precision=precision,
        format=format,
        shard_size=shard_size,
    )
    return _fill(look, Corpus(folder, videos, settings), retry=retry, json=json)


def _check(
    files: tuple[str, ...],
    out: str | None,
    views: str,
    fps: float | None,
    frames: int | None,
    shard_size: int,
    *,
    per_frame: bool,
) -> None:
    from videomamba.schema import VideoMambaError, Views

    if not files:
        raise VideoMambaError(
            "features: no file given; try `videomamba features clip.mp4` or `videomamba features --help`"
        )
    if "" in files or out == "":
        raise VideoMambaError('features: "" names no file; an empty variable in the command line?')
    if (len(Views.parse(views)) > 1 or frames is not None) and per_frame:
        raise VideoMambaError("--per-frame looks at the whole video; leave --views and --frames away")
    if fps is not None and not per_frame:
        raise VideoMambaError("--fps goes with --per-frame; a clip takes its frames from all of the video")
    if fps is not None and not 0 < fps < float("inf"):
        raise VideoMambaError(f"--fps {fps:g}: must be above 0")
    if shard_size < 1:
        raise VideoMambaError(f"--shard-size {shard_size}: at least one video must be in a shard")
    if out is not None and _is_file(out) and Path(out).suffix not in (".safetensors", ".npy"):
        raise VideoMambaError(
            f"--out {out}: give a name in .safetensors or .npy for one video, or a folder's name, without a dot"
        )


def _is_file(out: str) -> bool:
    return Path(out).suffix != "" and not Path(out).is_dir() and not out.endswith(("/", os.sep))


def _own_device(name: str) -> str:
    """Of several processes on a machine each takes a GPU of its own."""
    if name != "cuda" or "LOCAL_RANK" not in os.environ:
        return name
    import torch

    return f"cuda:{int(os.environ['LOCAL_RANK']) % max(torch.cuda.device_count(), 1)}"


@dataclass(frozen=True)
class _Look:
    """What is asked of each video."""

    embedder: Embedder
    views: str
    per_frame: bool
    fps: float | None

    def many(self, paths: Sequence[Path]) -> Iterator[Embedding | WholeVideo | VideoError]:
        if self.per_frame:
            return map(self._whole, paths)
        return self.embedder.embed_many(paths, self.views)

    def _whole(self, path: Path) -> WholeVideo | VideoError:
        from videomamba.schema import VideoError

        try:
            with stages({"frames": "frames", "tokens": "tokens"}) as tell:
                return self.embedder.per_frame(path, fps=self.fps, progress=tell)
        except VideoError as error:
            return error


def _show(look: _Look, videos: VideoList, *, json: bool) -> int:
    from videomamba.schema import VideoError
    from videomamba.serving.embedder import Embedding

    failed = 0
    answers = look.many(videos.paths)
    for answer in answers if look.per_frame else progress(answers, total=len(videos), what="looking"):
        if isinstance(answer, VideoError):
            failed += 1
            complain(str(answer))
            if json:
                print_json({"path": answer.path, "error": answer.reason})
        elif isinstance(answer, Embedding):
            about: dict[str, object] = {"num_frames": answer.num_frames, "duration": answer.duration}
            line = f"{len(answer.data)} numbers, norm {answer.data.norm():.4g}"
            _tell(json, answer.path, answer.data, about, line)
        else:
            steps, width = answer.frames.shape
            about = {"timestamps": answer.timestamps.tolist(), "temporal_positions": answer.note}
            line = f"{steps} x {width} numbers, 0 to {answer.timestamps[-1]:.2f} s, {answer.note}"
            _tell(json, answer.path, answer.frames, about, line)
    return 1 if failed else 0


def _tell(json: bool, path: str, data: Tensor, about: dict[str, object], line: str) -> None:
    if json:
        print_json({"path": path, "features": data.tolist(), **about})
    else:
        print(f"{path}  {line}", flush=True)


def _save(look: _Look, videos: VideoList, out: Path, *, model: str, json: bool) -> int:
    import numpy as np

    from videomamba.corpus.shards import Blocks, write_safetensors
    from videomamba.files import write_atomically
    from videomamba.schema import VideoError
    from videomamba.serving.embedder import Embedding

    (answer,) = look.many(videos.paths)
    if isinstance(answer, VideoError):
        raise answer
    about = {"path": videos.names[0], "model": model}
    if isinstance(answer, Embedding):
        data, times = answer.data.numpy(), None
        about["views"] = look.views
    else:
        data, times = answer.frames.numpy(), answer.timestamps.numpy()
        about["temporal_positions"] = answer.note
        note(f"{videos.names[0]}: {answer.note}")
    if out.suffix == ".safetensors":
        tensors = {} if times is None else {"timestamps": Blocks("<f8", times.shape, [times])}
        write_safetensors(out, {**tensors, "features": Blocks("<f4", data.shape, [data])}, about)
    else:
        if times is not None:
            write_atomically(out.with_suffix(".timestamps.npy"), lambda target: np.save(target, times))
        write_atomically(out, lambda target: np.save(target, data))
    if json:
        print_json({"out": str(out), "shape": data.shape, **about})
    else:
        print(f"{out}: features {' x '.join(map(str, data.shape))} of {videos.names[0]}")
    return 0


def _fill(look: _Look, corpus: Corpus, *, retry: bool, json: bool) -> int:
    from videomamba.corpus.extract import FAILURES, extract_with

    rank, world = _place()
    if world > corpus.num_shards:
        note(f"{corpus.num_shards} shards for {world} processes; with a smaller --shard-size all would have work")
    if look.per_frame and look.embedder.model.config.grid[0] > 1:
        note("temporal positions are stretched to the length of each video by linear interpolation")
    with _share() as (tell, tell_stage):
        extract = extract_with(
            look.embedder, views=look.views, per_frame=look.per_frame, fps=look.fps, progress=tell_stage
        )
        corpus.run(extract, rank=rank, world=world, retry=retry, progress=tell)
    manifest = corpus.finish()
    if manifest is None:
        note(f"{corpus.out}: this process has done its share; the one that ends last will write the manifest")
        return 0  # whatever failed: at another code torchrun would end the processes that still work
    end = f"{corpus.out}: features of {manifest.videos} videos in {len(manifest.files)} shard{'s' * (len(manifest.files) != 1)}"
    if manifest.failed:
        end += f"; {manifest.failed} failed, see {corpus.out / FAILURES}, so that the exit code is 1"
    if json:
        print_json({"out": str(corpus.out), **vars(manifest)})
    print(end, file=sys.stderr if json or rank else sys.stdout, flush=True)
    return 1 if manifest.failed else 0


def _place() -> tuple[int, int]:
    """(number of this process, number of all), as torchrun says it."""
    from videomamba.schema import VideoMambaError

    rank, world = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise VideoMambaError(f"RANK={rank} WORLD_SIZE={world}: RANK must count from 0 to WORLD_SIZE - 1; unset both")
    return int(rank), int(world)


@contextmanager
def _share() -> Iterator[tuple[Callable[[Progress], None], Stages]]:
    """Of the videos of this process: a bar on stderr, where that is a terminal, and failures as they come."""
    first = os.environ.get("RANK", "0") == "0"
    failed, count = 0, "videos"
    with bar(disable=not (first and sys.stderr.isatty())) as shown:
        task = shown.add_task(count)

        def tell(now: Progress) -> None:
            nonlocal failed, count
            if now.failed is not None:
                failed += 1
                shown.stop()
                complain(str(now.failed))
                shown.start()
            count = f"videos {now.done}/{now.total}" + (f", {failed} failed" if failed else "")
            shown.update(task, description=count, completed=now.done, total=now.total)

        def tell_stage(stage: str, done: int, total: int) -> None:
            shown.update(task, description=f"{count}, {stage} {100 * done // total} %")

        yield tell, tell_stage
