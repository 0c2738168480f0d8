"""`videomamba features`: videos as vectors, on the screen, in a file or in a folder of shards."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import ClipsByCrops, Network, NetworkOptions, check_files, note_ignored
from videomamba.cli.output import Json, VideoBar, note, print_json, usable_device
from videomamba.corpus.extract import SHARD_SIZE, extract, extract_one
from videomamba.corpus.features import FeatureConfig, Features
from videomamba.corpus.folder import FAILURES, Progress
from videomamba.schema import VideoError, VideoMambaError
from videomamba.weights.released import ACTIONS_MODEL

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
    views: ClipsByCrops = "1x1",
    per_frame: Annotated[
        str | None,
        arg(
            metavar="RATE",
            help="one vector for each moment of a whole-video pass, with its time; RATE is frames a second, or all",
        ),
    ] = None,
    format: Annotated[Literal["safetensors", "parquet"], arg(help="of the shards in a folder")] = "safetensors",
    shard_size: Annotated[int, arg(metavar="VIDEOS", help="in a shard, the most that a kill costs")] = SHARD_SIZE,
    retry: Annotated[bool, arg(help="try the failed videos of a folder again")] = False,
    engine: Annotated[Literal["local", "ray"], arg(help="fill a folder by this process or a Ray cluster")] = "local",
    network: Network = NetworkOptions(model=ACTIONS_MODEL),
    json: Json = False,
) -> int:
    """Turn videos into vectors. Without --out they are described, or printed with --json.

    A folder as --out takes any number of videos. The run may be interrupted at any moment, and the same command resumes it.
    Under torchrun each process does its share; --engine ray uses a cluster, on its CPUs unless --device names another. Videos
    that fail are listed, the others are still done, and the exit code is then 1 (under torchrun, that of the process that
    ends last). The weights need no head.
    """
    from videomamba.corpus.video_list import read_videos

    check_files("features", files)
    file = None if out is None else _file(out)
    folder = out is not None and file is None
    if not folder and (retry, format, shard_size, engine) != (False, "safetensors", SHARD_SIZE, "local"):
        raise VideoMambaError("--retry, --format, --shard-size and --engine need a folder as --out")
    net = network
    config = FeatureConfig(net.model, views, _rate(per_frame), net.frames, net.size, net.device, net.precision)
    if engine == "local":
        config = replace(config, device=usable_device(_own_device(config.device)))
    elif config.device == "auto":  # this machine need not have the devices of the cluster
        config = replace(config, device="cpu")
    videos = read_videos(files)
    note_ignored(videos.ignored)
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
    with VideoBar() as shown:
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
            notify=shown.note,
        )
    if done is None:
        note(f"{out}: this process has done its share; the last to end writes the manifest")
        return 0  # even with failures: at another code torchrun would end the processes that still work
    end = f"{out}: features of {done.videos} videos in {len(done.files)} shard{'s' * (len(done.files) != 1)}, by {net.model}"
    if done.failed:
        end += f"; {done.failed} failed, see {Path(out) / FAILURES}; the exit code is 1"
    if json:
        print_json({"out": out, "model": net.model, **vars(done)})
    print(end, file=sys.stderr if json or rank else sys.stdout, flush=True)
    return 1 if done.failed else 0


def _rate(text: str | None) -> float | Literal["all"] | None:
    if text == "all":
        return "all"
    try:
        return None if text is None else float(text)
    except ValueError:
        raise VideoMambaError(f"--per-frame {text}: give frames a second, such as 1, or all") from None


def _file(out: str) -> Path | None:
    """The file for one video that `out` names, None where it names a folder."""
    path = Path(out)
    if not out:
        raise VideoMambaError('features: "" names no file; is a variable in the command line empty?')
    if not path.suffix or path.is_dir() or out.endswith(("/", os.sep)):
        return None
    if path.suffix not in (".safetensors", ".npy"):
        raise VideoMambaError(f"--out {out}: give a .safetensors or .npy file for one video, or a folder without a dot")
    return path


def _own_device(name: str) -> str:
    """Of several processes on a machine each takes a GPU of its own."""
    if name not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ:
        return name
    import torch

    if name == "auto" and not torch.cuda.is_available():
        return name
    return f"cuda:{int(os.environ['LOCAL_RANK']) % max(torch.cuda.device_count(), 1)}"


def _process() -> tuple[int, int]:
    """(number of this process, number of all), as torchrun sets them."""
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise VideoMambaError(f"RANK={rank} WORLD_SIZE={world}: RANK must count from 0 to WORLD_SIZE - 1; unset both")
    return int(rank), int(world)


def _print(config: FeatureConfig, videos: VideoList, *, json: bool) -> int:
    failed = False
    with VideoBar() as shown:
        outcomes = config.outcomes(config.open(shown.note), videos.paths, shown.stage)
        for done, (path, found) in enumerate(zip(videos.paths, outcomes, strict=True), 1):
            errors = (found,) if isinstance(found, VideoError) else ()
            failed = failed or bool(errors)
            shown.videos(Progress(done, len(videos), errors))
            with shown.hidden():
                if json:
                    answer = (
                        {"model": config.model, **found.as_dict()}
                        if isinstance(found, Features)
                        else {"error": found.reason}
                    )
                    print_json({"path": str(path), **answer})
                elif not isinstance(found, VideoError):
                    print(f"{path}  {_line(found)}, by {config.model}", flush=True)
    return 1 if failed else 0


def _line(found: Features) -> str:
    numbers = " x ".join(map(str, found.data.shape))
    if found.timestamps is None:
        return f"{numbers} numbers, norm {(found.data**2).sum() ** 0.5:.4g}"
    return f"{numbers} numbers, 0 to {found.timestamps[-1]:.2f} s, {found.about['temporal_positions']}"


def _save(config: FeatureConfig, videos: VideoList, out: Path, *, json: bool) -> int:
    with VideoBar() as shown:
        found = extract_one(videos, out, config, stages=shown.stage, notify=shown.note)
    (name,) = videos.names
    if "temporal_positions" in found.about:
        note(f"{name}: {found.about['temporal_positions']}")
    if json:
        print_json({"out": str(out), "shape": found.data.shape, **found.about})
    else:
        print(f"{out}: features {' x '.join(map(str, found.data.shape))} of {name} by {config.model}")
    return 0
