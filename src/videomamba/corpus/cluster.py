"""Jobs of a corpus on the workers of a Ray cluster, through Ray Data. The one file that imports Ray.

Each worker is an actor that opens the network once and then writes shards, one a task, into the folder that all nodes see.
Ray restarts a worker that died and repeats its task; finished shards are kept.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from videomamba.corpus.features import FeatureConfig
from videomamba.corpus.folder import Engine, Job
from videomamba.files import clear_remains
from videomamba.schema import VideoError, VideoMambaError

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise VideoMambaError("--engine ray needs Ray; pip install 'videomamba[ray]'") from error

if TYPE_CHECKING:
    from videomamba.serving.embedder import Embedder

ATTEMPTS = 5
"""Limit of workers that die on a job: Ray has none, and a video may make each of them run out of memory."""


def on_ray(config: FeatureConfig, weights_sha256: str) -> Engine:
    """The engine in which a worker with one CPU core, or one GPU if the device of `config` is cuda, does each job.

    Paths in the jobs must be absolute. Raises VideoMambaError when the cluster cannot be reached or lacks the device, when a
    worker has other weights, and when the workers of one job died ATTEMPTS times.
    """

    def run(jobs: Sequence[Job]) -> Iterator[Sequence[VideoError | None]]:
        with _cluster():
            clear_remains(jobs[0].path.parent, "shard-*")  # of an earlier run, with its attempts
            gpus = config.device.startswith("cuda")
            slots = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
            if slots < 1:
                raise VideoMambaError(f"--device {config.device}: the Ray cluster has none; use --device cpu")
            texts = [{"job": json.dumps(asdict(job), default=str)} for job in jobs]
            rows = ray.data.from_items(texts, override_num_blocks=len(jobs))
            rows.context.enable_progress_bars = False
            done = rows.map_batches(
                Worker,
                fn_constructor_args=(config, weights_sha256),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    min_size=1, max_size=len(jobs), initial_size=min(slots, len(jobs)), max_tasks_in_flight_per_actor=2
                ),
                num_cpus=None if gpus else 1,
                num_gpus=1 if gpus else None,
            )
            for row in done.iter_rows():
                if row["error"]:
                    raise VideoMambaError(row["error"])
                yield [failure and VideoError(*failure) for failure in json.loads(row["videos"])]

    return run


class Worker:
    """Writes one shard a call: {"job": [JSON of a Job]} -> {"videos": [JSON of failures or nulls], "error": [text]}.

    A VideoMambaError is returned as text, as Ray would treat an exception as a bug.
    """

    def __init__(self, config: FeatureConfig, weights_sha256: str) -> None:
        self._config, self._weights_sha256 = config, weights_sha256
        self._embedder: Embedder | None = None

    def __call__(self, batch: dict[str, NDArray[np.object_]]) -> dict[str, list[str]]:
        (text,) = batch["job"]
        try:
            embedder = self._embedder = self._embedder or self._open()
            about = json.loads(text)
            job = Job(**{**about, "path": Path(about["path"]), "files": [Path(file) for file in about["files"]]})
            with _attempt(job.path):
                failures = list(job.run(lambda files: self._config.outcomes(embedder, files)))
        except VideoMambaError as error:
            return {"videos": [""], "error": [str(error)]}
        return {"videos": [json.dumps([each and (each.path, each.reason) for each in failures])], "error": [""]}

    def _open(self) -> Embedder:
        if self._config.weights_sha256() != self._weights_sha256:
            raise VideoMambaError(f"{self._config.model}: has other weights on the Ray node {platform.node()}")
        try:
            return self._config.open()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise VideoMambaError(
                f"--device {self._config.device}: not usable on Ray node {platform.node()} ({reason})"
            ) from error


@contextmanager
def _attempt(shard: Path) -> Iterator[None]:
    """Registers this worker in a folder next to the shard, which stays if the worker dies. Raises if too many did."""
    attempts = shard.with_name(f".{shard.name}.attempts")
    attempts.mkdir(exist_ok=True)
    (attempts / f"{platform.node()}-{os.getpid()}").touch()
    if len(list(attempts.iterdir())) > ATTEMPTS:
        raise VideoMambaError(f"{shard}: its worker died {ATTEMPTS} times, perhaps out of memory; the others are kept")
    yield
    shutil.rmtree(attempts)


@contextmanager
def _cluster() -> Iterator[None]:
    """The cluster of this process, or that of RAY_ADDRESS, or a new one for this block."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with redirect_stdout(sys.stderr):  # Ray prints the death of a worker; stdout is for answers
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise VideoMambaError(f"--engine ray: no cluster ({reason}); check RAY_ADDRESS") from error
        try:
            yield
        finally:
            ray.shutdown()
