"""What an exported network costs: its time beside PyTorch's, its largest difference and its size, for every format in one run.

    python benchmarks/export.py [--model WEIGHTS] [--frames 8] [--size 96] [--runs 10] [--threads 1] [--clip VIDEO ...]

The calls take turns. "times" is the time of a call as a multiple of that of PyTorch with our kernels, the median of the ratios
of the rounds. "same class" is the share of the compared clips whose best class is PyTorch's. Formats whose packages are missing
are named.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from videomamba.bench.measure import describe_machine, measure
from videomamba.cli.output import cell, print_table
from videomamba.export.comparison import Run, clips_for, compare
from videomamba.export.program import frames_are_free
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import VideoMambaError
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.released import ACTIONS_MODEL

Made = tuple[Run, int]
"""A file, opened, and its size in bytes."""


def onnx(model: VideoMamba, folder: Path, threads: int) -> Made:
    from videomamba.export.onnx_file import open_onnx, write_onnx

    path = folder / "network.onnx"
    write_onnx(model, path, {})
    return open_onnx(path, threads=threads), path.stat().st_size


def onnx_int8(model: VideoMamba, folder: Path, threads: int) -> Made:
    from videomamba.export.onnx_file import open_onnx, quantize, write_onnx

    path = folder / "network_int8.onnx"
    write_onnx(model, path, {})
    quantize(path)
    return open_onnx(path, threads=threads), path.stat().st_size


def openvino(model: VideoMamba, folder: Path, threads: int, precision: str = "f32") -> Made:
    from videomamba.export.onnx_file import write_onnx
    from videomamba.export.openvino_file import open_openvino, write_openvino

    path = folder / "network.xml"
    write_onnx(model, folder / "between.onnx", {})
    write_openvino(folder / "between.onnx", path, {})
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return open_openvino(path, threads=threads, precision=precision), size


def openvino_bf16(model: VideoMamba, folder: Path, threads: int) -> Made:
    return openvino(model, folder, threads, "bf16")


def program(model: VideoMamba, folder: Path, threads: int) -> Made:
    from videomamba.export.torch_file import open_program, write_program

    path = folder / "network.pt2"
    write_program(model, path, {})
    return open_program(path), path.stat().st_size


FORMATS: dict[str, Callable[[VideoMamba, Path, int], Made]] = {
    "torch.export": program,
    "ONNX in onnxruntime": onnx,
    "ONNX, int8 weights": onnx_int8,
    "OpenVINO": openvino,
    "OpenVINO in bf16": openvino_bf16,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ACTIONS_MODEL, help="zoo name or weights file")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clip", nargs="*", default=(), help="videos for the comparison; without, rendered ones")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    opened = open_pretrained(options.model, num_frames=options.frames, image_size=options.size, needs_head=False)
    model, cast = (
        opened.model.eval(),
        open_pretrained(
            options.model, num_frames=options.frames, image_size=options.size, needs_head=False
        ).model.eval(),
    )
    cast_products(cast, torch.bfloat16)
    clips, source = clips_for(options.clip, opened.preprocess)
    video = clips[0].data[None]

    def ours(network: VideoMamba) -> Run:
        return torch.inference_mode()(lambda video: network(video).float())

    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Made] = {}
        for name, make in FORMATS.items():
            try:
                made[name] = make(model, Path(folder), options.threads)
            except VideoMambaError as error:
                print(f"{name}: {error}")
        compared = {name: compare(model, run, clips, source) for name, (run, _) in made.items()}
        model.prepare_constants()
        cast.prepare_constants()
        calls = {"PyTorch, our kernels": ours(model), "the same in bf16": ours(cast)}
        calls |= {name: run for name, (run, _) in made.items()}
        with torch.inference_mode():
            error = (ours(cast)(video) - ours(model)(video)).abs().max().item()
        times = measure({name: lambda run=run: run(video) for name, run in calls.items()}, runs=options.runs)
    rows, base = [], times["PyTorch, our kernels"]
    for name, timing in times.items():
        found = compared.get(name)
        largest = (error if name == "the same in bf16" else None) if found is None else found.error
        same = "-" if found is None else f"{100 * found.same_class:.0f} %"
        size = f"{made[name][1] / 1e6:.1f}" if name in made else "-"
        rows.append([name, cell(1e3 * timing.median), f"{timing.over(base):.2f}", cell(largest), same, size])
    config, machine = opened.model.config, describe_machine()
    print(f"{options.model}: depth {config.depth}, width {config.dim}, {tuple(video.shape)} ({source}); {machine}")
    print_table(["network", "ms", "times", "largest difference", "same class", "MB"], rows)
    print(f"clips of fewer frames compared: {'yes' if frames_are_free(model) else 'no'}")


if __name__ == "__main__":
    main()
