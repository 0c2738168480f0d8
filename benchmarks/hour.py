"""One hour of video in one whole-video pass, from the file to the classes: `videomamba whole` as a user calls it.

    python benchmarks/hour.py [--seconds 3600] [--film-fps 4] [--fps 1] [--model videomamba_tiny] [--precision bf16]

Writes a film of that length and a bundle with random weights, runs the command in a process of its own and prints its time and
its largest resident memory (PyTorch, weights, pictures, tokens), for each way of keeping tokens. The time of a frame, with
decoding, is compared with that of the same network on clips of 16 frames in memory, which run right before and right after.
The answers of random weights mean nothing, but time and memory do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from commands import watched

from videomamba import create_model
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess
from videomamba.synthetic.film import plan_events, write_film
from videomamba.weights.bundle import save_bundle

CLIPS = 40
"""Clips of 16 frames before each run and after it."""

MODES: dict[str, list[str]] = {
    "default": [],
    "stream-bf16": ["--stream", "bf16"],
    "lean": ["--lean"],
    "lean-stream-bf16": ["--lean", "--stream", "bf16"],
}


def frame_of_a_clip(model: VideoMamba, video: torch.Tensor) -> float:
    """Seconds for a frame of a short clip."""
    with torch.inference_mode():
        model(video)
        started = time.perf_counter()
        for _ in range(CLIPS):
            model(video)
    return (time.perf_counter() - started) / (CLIPS * video.shape[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--film-fps", type=int, default=4)
    parser.add_argument("--fps", type=float, default=1.0)
    parser.add_argument("--model", default="videomamba_tiny")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film, weights = Path(folder) / "film.mp4", Path(folder) / "weights.safetensors"
        events = plan_events(max(options.seconds // 120, 1), seconds=options.seconds, seed=0)
        write_film(film, events, seconds=options.seconds, fps=options.film_fps, height=240, width=320)
        torch.manual_seed(0)
        model = create_model(options.model, num_frames=16)
        save_bundle(weights, model, Preprocess(num_frames=16))
        model.eval()
        cast_products(model, torch.bfloat16 if options.precision == "bf16" else torch.float32)
        video = torch.randn(1, 3, 16, 224, 224)
        print(f"{options.seconds} s of film, {film.stat().st_size / 1e6:.1f} MB; {options.model}, {options.precision}")
        for name in options.modes:
            command = [sys.executable, "-m", "videomamba", "whole", str(film), "--fps", str(options.fps)]
            command += ["--model", str(weights), "--precision", options.precision, "--json", *MODES[name]]
            before = frame_of_a_clip(model, video)
            run = watched(command)
            answer, peak = json.loads(run.output), run.memory
            clip = (before + frame_of_a_clip(model, video)) / 2
            frames, seconds = answer["frames"], answer["seconds"]
            assert isinstance(frames, int) and isinstance(seconds, float)
            print(
                f"{name:>16}: {frames} frames, {answer['tokens']} tokens, {seconds:.1f} s, "
                f"{1e3 * seconds / frames:.1f} ms a frame = {seconds / frames / clip:.2f}x that of a clip, "
                f"at most {peak / 1e9:.2f} GB; {answer['temporal_positions']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
