"""The time to augment a training clip on one thread, compared with Pillow on one picture after another.

    python benchmarks/augmentation.py [--frames 8] [--size 340x256] [--runs 9] [--json]

First each operation of RandAugment on a clip at magnitude 7 (the conversion of arrays to Pillow's images and back has a row of
its own), then complete training clips: the mean over many draws of auto-augment, crop, resize to 224, flip, normalise, erase.
Processor time, which other programs disturb less; ratios are of medians within one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from videomamba.data.augment.pipeline import augment_clip
from videomamba.data.augment.policy import INCREASING
from videomamba.data.settings import Augmentation
from videomamba.schema import Frames, Preprocess, Symmetries
from videomamba.synthetic.dataset import render_clip

FILL = (128, 128, 128)
MAGNITUDE = 7.0
POLICIES = ("", "rand-m5-n2-mstd0.25-inc1", "rand-m7-n4-mstd0.5-inc1", "v0")


def affine(image: Image.Image, *coefficients: float) -> Image.Image:
    method, resample = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    return image.transform(image.size, method, coefficients, resample, fillcolor=FILL)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=FILL),
    "Posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "Solarize": lambda image, start: ImageOps.solarize(image, int(start)),
    "SolarizeAdd": lambda image, add: image.point([min(i + int(add), 255) if i < 128 else i for i in range(256)] * 3),
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, factor: affine(image, 1, factor, 0, 0, 1, 0),
    "ShearY": lambda image, factor: affine(image, 1, 0, 0, factor, 1, 0),
    "TranslateX": lambda image, share: affine(image, 1, 0, share * image.width, 0, 1, 0),
    "TranslateY": lambda image, share: affine(image, 1, 0, 0, 0, 1, share * image.height),
}


def milliseconds(*calls: Callable[[], object], runs: int) -> list[float]:
    """Median of each call. The calls take turns, so a busy moment affects all of them."""
    taken: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, times in zip(calls, taken, strict=True):
            start = time.process_time()
            call()
            if run:  # the first one warms up
                times.append(1e3 * (time.process_time() - start))
    return [statistics.median(times) for times in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", default="340x256", help="width x height of the video")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--draws", type=int, default=100, help="training clips of each policy")
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, args.size.split("x"))
    pictures = torch.from_numpy(render_clip(0, 0, num_frames=max(args.frames, 8), height=height, width=width))
    pictures = pictures[: args.frames].contiguous()
    images = [Image.fromarray(picture.numpy()) for picture in pictures]

    def show(what: str, ours: float | None, pillow: float | None = None) -> None:
        if args.json:
            print(json.dumps({"what": what, "ms": ours, "pillow_ms": pillow}), flush=True)
            return
        ratio = f"{pillow / ours:10.2f}" if ours and pillow else ""
        cells = [f"{value:10.2f}" if value is not None else " " * 10 for value in (ours, pillow)]
        print(f"{what:<42}{cells[0]}{cells[1]}{ratio}".rstrip(), flush=True)

    if not args.json:
        print(f"{args.frames} pictures of {args.size}, one thread, processor time, medians of {args.runs}")
        print(f"{'':<42}{'ms':>10}{'Pillow ms':>10}{'ratio':>10}")
    for name, operation in INCREASING.items():
        argument = operation.argument(MAGNITUDE)

        def pillow(change: Callable[[Image.Image, float], Image.Image] = PILLOW[name], x: float = argument) -> object:
            return [change(image, x) for image in images]

        def ours(change: Callable[..., object] = operation.change, x: float = argument) -> object:
            return change(pictures, x, FILL)

        show(name, *milliseconds(ours, pillow, runs=args.runs))

    def there_and_back() -> object:
        return np.stack([np.asarray(Image.fromarray(picture.numpy())) for picture in pictures])

    show("arrays into images and back", None, *milliseconds(there_and_back, runs=args.runs))

    frames = Frames(pictures, tuple(range(args.frames)), (0.0,) * args.frames)
    for policy in POLICIES:
        for before_crop in (True, False) if policy else (True,):
            augmentation = Augmentation(auto_augment=policy, before_crop=before_crop, erase=0.25)
            taken = []
            for seed in range(args.draws):
                generator = np.random.default_rng(seed)
                start = time.process_time()
                augment_clip(frames, 0, Preprocess(), augmentation, Symmetries(mirror=(0,)), generator)
                taken.append(1e3 * (time.process_time() - start))
            where = "" if not policy else ", before the crop" if before_crop else ", after the crop"
            show(f"clip: {policy or 'no auto-augment'}{where}", statistics.mean(taken))


if __name__ == "__main__":
    main()
