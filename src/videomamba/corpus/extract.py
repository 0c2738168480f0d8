"""Features of many videos into a folder, by this process, by several, or by the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from videomamba.corpus.features import FeatureConfig, Features
from videomamba.corpus.folder import Corpus, CorpusSettings, Engine, Extract, Format, Job, Manifest, Progress
from videomamba.corpus.shards import save_features
from videomamba.schema import VideoError, VideoMambaError, Views

if TYPE_CHECKING:
    from videomamba.corpus.video_list import VideoList
    from videomamba.serving.whole import Stages

SHARD_SIZE = 32
"""Videos in a shard, the most work that a kill costs."""


def extract(
    videos: VideoList,
    out: str | Path,
    config: FeatureConfig,
    *,
    format: Format = "safetensors",
    shard_size: int = SHARD_SIZE,
    retry: bool = False,
    engine: Literal["local", "ray"] = "local",
    rank: int = 0,
    world: int = 1,
    progress: Callable[[Progress], None] | None = None,
    stages: Stages | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> Manifest | None:
    """Writes the features of `videos` to the folder `out`, `shard_size` videos a file; docs/features.md describes the files.

    The same call resumes. `retry` tries failed videos again. With the engine "local" this is process `rank` of `world`;
    "ray" uses the Ray cluster that this process can reach, or starts one on this machine: every node must see the same
    files under the same paths. `progress` is called as videos are done, `stages` during each whole-video pass here, and
    `notify` with the remarks on the network (`ClipModel.remarks`).

    Returns None while other processes are still at work. Raises VideoMambaError when the folder has other settings, the
    files cannot be written or the engine is not installed; a video that cannot be read is listed instead.
    """
    if shard_size < 1:
        raise VideoMambaError(f"--shard-size {shard_size}: a shard needs at least one video")
    if format == "parquet":
        from videomamba.corpus import parquet  # noqa: F401 an missing package is an error before the folder is made
    if engine == "ray":
        from videomamba.corpus.cluster import on_ray

        if world > 1:
            raise VideoMambaError("--engine ray starts its own workers; run the command once, without torchrun")
        out = Path(out).absolute()
        videos = replace(videos, paths=tuple(path.absolute() for path in videos.paths))
    # The device is that of Ray's workers; the process that sends the jobs may have none.
    embedder = (replace(config, device="cpu") if engine == "ray" else config).open(notify)
    settings = CorpusSettings(
        model=config.model.encode("utf-8", "backslashreplace").decode(),
        weights_sha256=config.weights_sha256(),
        preprocess=embedder.preprocess,
        dim=embedder.dim,
        views=str(Views.parse(config.views)),
        per_frame=config.per_frame,
        device=config.device.split(":")[0],
        precision=config.precision,
        format=format,
        shard_size=shard_size,
        listed=len(videos),
        list_sha256=videos.sha256(),
    )
    corpus = Corpus(Path(out), videos, settings)
    if engine == "ray":
        run = on_ray(config, settings.weights_sha256)
    else:
        run = in_this_process(lambda paths: config.outcomes(embedder, paths, stages))
    corpus.run(run, rank=rank, world=world, retry=retry, progress=progress)
    return corpus.finish()


def extract_one(
    videos: VideoList,
    out: Path,
    config: FeatureConfig,
    *,
    stages: Stages | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> Features:
    """The features of the one video in `videos`, also written to `out`; their `about` is the metadata of the file.

    Raises VideoError for a video that cannot be read, VideoMambaError as `save_features` does.
    """
    ((name,), (found,)) = videos.names, config.outcomes(config.open(notify), videos.paths, stages)
    if isinstance(found, VideoError):
        raise found
    kind = "views" if found.timestamps is None else "temporal_positions"
    about = {"path": name, "model": config.model, kind: str(found.about.get(kind, config.views))}
    save_features(out, found, about)
    return replace(found, about=about)


def in_this_process(extract: Extract) -> Engine:
    """The engine that does one job after another in this process."""

    def run(jobs: Sequence[Job]) -> Iterator[Sequence[VideoError | None]]:
        for job in jobs:
            yield from ([failure] for failure in job.run(extract))

    return run
