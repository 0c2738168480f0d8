"""Whether loading keeps up with training on files like those of Kinetics-400.

    python benchmarks/data_loading.py [--videos 12] [--rounds 3] [--steps 10] [--workers 1]

Writes H.264 files of 340x256, 10 s at 30 fps, with a key frame every 250 frames (x264's default) and every 12 frames.
The pictures are a textured scene under a moving camera with grain, so that they need about as many bits as real ones.

First table: videos a second in one process with one thread, by this project and by a plain loop over PyAV that converts every
frame to an array, keeps 8 of them, and makes the same clip; in turns, the median of the rounds. Second table: the share of a
training step of VideoMamba-Ti (8 frames at 224, batch 4) that is spent waiting for data, and the time of a step without
loading ("alone").
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from videomamba import create_model
from videomamba.data.augment.pipeline import augment_clip
from videomamba.data.clips.sampling import train_clip
from videomamba.data.loading.cache import FrameCache
from videomamba.data.loading.dataset import Batch, Sample, TrainClips
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.loading.order import Place
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.models.precision import MasterWeights
from videomamba.schema import ClassLabel, Frames, Preprocess, Symmetries, VideoRecord, VideoSet
from videomamba.training.draws import Draws

HEIGHT, WIDTH, FPS, SECONDS = 256, 340, 30, 10
PREPROCESS = Preprocess(num_frames=8, image_size=(224, 224), antialias=False)
"""That of the released K400 models."""
BATCH = 4
RAND_AUGMENT = "rand-m5-n2"
SETTINGS = {
    "crop alone": Augmentation(),
    RAND_AUGMENT: Augmentation(auto_augment=RAND_AUGMENT),
    f"{RAND_AUGMENT} after the crop": Augmentation(auto_augment=RAND_AUGMENT, before_crop=False),
}


def write_videos(folder: Path, number: int, gop: int) -> list[VideoRecord]:
    """`number` files with at most `gop` frames from one key frame to the next."""
    folder.mkdir()
    return [VideoRecord(str(_write(folder / f"{i}.mp4", gop, seed=i)), ClassLabel(i % 2)) for i in range(number)]


def _write(path: Path, gop: int, *, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    scene = sum(
        np.kron(generator.normal(size=(1024 // cell, 1024 // cell, 3)), np.ones((cell, cell, 1))) * np.sqrt(cell)
        for cell in (2, 8, 32, 128)
    )
    scene = np.clip(128 + 12 * scene, 0, 255)
    grain = generator.normal(scale=3, size=(HEIGHT + 64, WIDTH + 64, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.gop_size = gop
        for index in range(FPS * SECONDS):
            time_of = index / FPS
            top = round(300 + 200 * np.sin(0.9 * time_of + seed))
            left = round(300 + 250 * np.cos(0.7 * time_of + 2 * seed))
            y, x = generator.integers(0, 64, 2)
            view = scene[top : top + HEIGHT, left : left + WIDTH] + grain[y : y + HEIGHT, x : x + WIDTH]
            frame = av.VideoFrame.from_ndarray(np.clip(view, 0, 255).astype(np.uint8), "rgb24")
            frame.pts = index
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def ours(records: list[VideoRecord], augmentation: Augmentation) -> Callable[[int], object]:
    clips = TrainClips(
        preprocess=PREPROCESS, augmentation=augmentation, symmetries=Symmetries(), data=DataSettings(), draws=Draws(0)
    )

    def load(position: int) -> object:
        batch = clips[[Sample(Place(0, position, position), records[position])]]
        assert isinstance(batch, Batch)
        return batch

    return load


def plain(records: list[VideoRecord], augmentation: Augmentation) -> Callable[[int], object]:
    """Converts every frame to an array, then takes the chosen ones and makes the same clip."""

    def load(position: int) -> object:
        generator = Draws(0).sample(0, position)
        with av.open(records[position].path) as container:
            container.streams.video[0].codec_context.thread_count = 1
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        chosen = train_clip(PREPROCESS, len(pictures), generator)
        data = torch.from_numpy(np.stack([pictures[i] for i in chosen]))
        frames = Frames(data, chosen, tuple(i / FPS for i in chosen))
        return augment_clip(frames, 0, PREPROCESS, augmentation, Symmetries(), generator)

    return load


def opened(records: list[VideoRecord], folder: Path) -> Callable[[int], object]:
    """Frames from a filled cache, without augmentation."""
    cache = FrameCache(folder, num_frames=32, size=256)

    def load(position: int) -> object:
        with cache.open(records[position]) as source:
            return source.frames(train_clip(PREPROCESS, source.num_frames, np.random.default_rng(position)))

    for position in range(len(records)):
        load(position)
    return load


def seconds(load: Callable[[int], object], number: int) -> float:
    """The mean time of a video."""
    before = time.perf_counter()
    for position in range(number):
        load(position)
    return (time.perf_counter() - before) / number


def compare(records: list[VideoRecord], name: str, cache: Path, rounds: int) -> None:
    """One row for each augmentation: ours and the plain loop in turns."""
    for label, augmentation in SETTINGS.items():
        readers = {"ours": ours(records, augmentation), "plain": plain(records, augmentation)}
        found: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(rounds):
            for reader, load in readers.items():
                found[reader].append(seconds(load, len(records)))
        mine, other = (statistics.median(found[reader]) for reader in ("ours", "plain"))
        ratio = statistics.median(b / a for a, b in zip(found["ours"], found["plain"], strict=True))
        print(f"{name:<22} {label:<28} {1 / mine:>10.1f} {1 / other:>10.1f} {ratio:>8.2f}x", flush=True)
    kept = statistics.median(seconds(opened(records, cache), len(records)) for _ in range(rounds))
    print(f"{name:<22} {'frames from the cache':<28} {1 / kept:>10.1f}", flush=True)


def waiting(video_set: VideoSet, dtype: torch.dtype, augmentation: Augmentation, workers: int, steps: int) -> None:
    """One row: a training loop without its first step, in which the processes start; then the same without loading."""
    torch.manual_seed(0)
    model = create_model("videomamba_tiny", num_classes=400, num_frames=8, image_size=(224, 224)).train()
    masters = MasterWeights(model, dtype)
    optimizer = torch.optim.AdamW(masters.parameters(), lr=1e-5)

    def step(batch: Batch) -> None:
        assert batch.labels is not None
        F.cross_entropy(model(batch.video), batch.labels).backward()
        masters.collect_gradients()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()

    with TrainLoader(
        video_set,
        preprocess=PREPROCESS,
        augmentation=augmentation,
        data=DataSettings(workers=workers),
        draws=Draws(0),
        batch_size=BATCH,
    ) as loader:
        batches = (batch for epoch in count() for (batch,) in loader.epoch(epoch))
        step(next(batches))
        begun, waited = time.perf_counter(), loader.waited
        for batch in islice(batches, steps):
            step(batch)
        total, waited = time.perf_counter() - begun, loader.waited - waited
    begun = time.perf_counter()
    for _ in range(steps):
        step(batch)
    alone = time.perf_counter() - begun
    label = f"{str(dtype).removeprefix('torch.')}, repeats {augmentation.repeats}"
    print(
        f"{label:<22} {augmentation.auto_augment:<12} {workers:>7} {1000 * total / steps:>9.0f} "
        f"{1000 * waited / steps:>9.0f} {100 * waited / total:>7.1f} % {1000 * alone / steps:>9.0f} "
        f"{steps * len(batch) / total:>8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12, help="files of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with the plain loop")
    parser.add_argument("--steps", type=int, default=10, help="of each training loop")
    parser.add_argument("--workers", type=int, default=1, help="processes that load")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = {gop: write_videos(folder / f"gop{gop}", args.videos, gop) for gop in (250, 12)}
        torch.set_num_threads(1)
        print(f"{'videos a second':<22} {'augmentation':<28} {'ours':>10} {'plain':>10} {'ratio':>9}")
        for gop, files in records.items():
            size = sum(Path(record.path).stat().st_size for record in files) / len(files)
            compare(files, f"GOP {gop}, {size / 1e6:.1f} MB", folder / f"cache{gop}", args.rounds)
        torch.set_num_threads(threads)
        header = f"{'augmentation':<12} {'workers':>7} {'step ms':>9} {'waiting':>9} {'share':>9} {'alone':>9} {'clips/s':>8}"
        print(f"\n{f'training, {threads} threads':<22} {header}")
        # Rare key frames are the harder case for reading.
        video_set = VideoSet("files", tuple(records[250]), ("a", "b"))
        for dtype in (torch.float32, torch.bfloat16):
            for repeats in (1, 2):
                augmentation = Augmentation(repeats=repeats, auto_augment=RAND_AUGMENT)
                waiting(video_set, dtype, augmentation, args.workers, args.steps)


if __name__ == "__main__":
    main()
