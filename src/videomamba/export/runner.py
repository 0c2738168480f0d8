"""Classifies videos with a network that `videomamba export` wrote, without PyTorch and without videomamba.

    python run.py NETWORK.onnx VIDEO ...     # needs: pip install numpy av onnxruntime
    python run.py NETWORK.xml VIDEO ...      # needs: pip install numpy av openvino

Labels and preprocessing are in the file of the network. One clip from the middle of time and picture is read of each video.
This script stands alone and may be copied.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def open_network(path: str) -> tuple[Callable[[Array], Array], dict[str, str]]:
    """(function of a video (b, 3, t, h, w) float32 that returns (b, classes), metadata)."""
    if path.endswith(".xml"):
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        keys = ("preprocess", "labels", "task")
        metadata = {key: str(model.get_rt_info(["videomamba", key]).value) for key in keys}
        # Otherwise OpenVINO computes in bf16 where the processor can, and the scan is then wrong by far more than 1e-4.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda video: np.asarray(compiled(video)[0]), metadata
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda video: session.run(None, {"video": video})[0], session.get_modelmeta().custom_metadata_map


def frame_indices(count: int, spacing: float, settings: dict[str, Any]) -> list[int]:
    """The frames of the clip from the middle of a video of `count` frames, `spacing` seconds apart."""
    n, sampling = settings["num_frames"], settings["sampling"]
    steps = np.arange(n)
    if sampling == "uniform":
        segment = (count - 1) / n
        places = np.round(segment * steps) + int(segment / 2)
    elif sampling == "tsn":
        places = count / n / 2 + count / n * steps
    elif sampling == "segments":
        borders = np.linspace(0, count, min(n, count) + 1).astype(int)
        middles = borders[:-1] + (borders[1:] - 1 - borders[:-1]) // 2
        places = np.append(middles, np.full(n - len(middles), middles[-1]))
    elif sampling == "window":
        width = float(count)
        if settings["clip_seconds"] is not None and spacing > 0:
            width = min(settings["clip_seconds"] / spacing, width)
        places = 0.5 * (count - width) + (steps + 0.5) * (width / n)
    else:  # dense
        rate = settings["sampling_rate"]
        start = (count - n * rate) // 2
        if count > n * rate:
            places = np.clip(np.linspace(start, start + n * rate, n), start, start + n * rate - 1)
        else:
            spread = np.linspace(0, count, count // rate)
            places = np.append(spread, np.full(n - len(spread), count))
    return [int(place) for place in np.minimum(places.astype(int), count - 1)]


def read_frames(path: str, settings: dict[str, Any]) -> list[Array]:
    """The pictures (h, w, 3) uint8, upright, of the clip. The video is decoded twice: to count, and to keep."""
    with av.open(path) as file:
        times = [frame.time or 0.0 for frame in file.decode(video=0)]
    if not times:
        raise SystemExit(f"{path}: no picture in it")
    spacing = (times[-1] - times[0]) / max(len(times) - 1, 1)
    wanted = frame_indices(len(times), spacing, settings)
    kept: dict[int, Array] = {}
    with av.open(path) as file:
        for index, frame in enumerate(file.decode(video=0)):
            if index in wanted:
                kept[index] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return [kept[index] for index in wanted]


def weights(size: int, target: int, cubic: bool, antialias: bool) -> Array:
    """(target, size): the share of each old row in each new one. Pixels are areas."""
    scale = size / target
    stretch = max(scale, 1.0) if antialias else 1.0
    border = math.ceil(2 * stretch) + 1
    centres = (np.arange(target)[:, None] + 0.5) * scale
    x = np.abs((np.arange(-border, size + border) + 0.5 - centres) / stretch)
    if cubic:
        a = -0.5 if antialias else -0.75
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
        shares = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    else:
        shares = np.maximum(1 - x, 0.0)
    inside = shares[:, border:-border].copy()
    if not antialias:  # the picture continues with its border
        inside[:, 0] += shares[:, :border].sum(1)
        inside[:, -1] += shares[:, -border:].sum(1)
    shared: Array = inside / inside.sum(1, keepdims=True)
    return shared


def to_clip(pictures: list[Array], settings: dict[str, Any]) -> Array:
    """(1, 3, t, h, w) float32: scaled, cropped in the centre, normalised."""
    height, width = settings["image_size"]
    rows, columns = pictures[0].shape[:2]
    tall, wide = (int(side / settings["crop_ratio"]) for side in (height, width))
    if settings["resize"] == "cover":
        if wide * rows >= tall * columns:
            tall = wide * rows // columns
        else:
            wide = tall * columns // rows
    kind = settings["interpolation"] == "bicubic", settings["antialias"]
    down, across = weights(rows, tall, *kind), weights(columns, wide, *kind)
    top, left = round((tall - height) / 2), round((wide - width) / 2)
    clip = []
    for picture in pictures:
        scaled: Array = np.einsum("yc,xcd->xyd", across, picture) if (rows, columns) != (tall, wide) else picture
        if settings["antialias"]:  # rounded after each axis, as in the training of the network
            scaled = np.clip(np.round(scaled), 0, 255)
        if (rows, columns) != (tall, wide):
            scaled = np.einsum("xr,ryd->xyd", down, scaled)
        clip.append(np.clip(np.round(scaled), 0, 255)[top : top + height, left : left + width])
    normal = (np.stack(clip) / 255 - settings["mean"]) / settings["std"]
    return np.ascontiguousarray(normal.transpose(3, 0, 1, 2)[None], dtype=np.float32)


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    network, metadata = open_network(arguments[0])
    settings, labels = json.loads(metadata["preprocess"]), json.loads(metadata["labels"])
    for path in arguments[1:]:
        output = network(to_clip(read_frames(path, settings), settings))[0].astype(float)
        if metadata["task"] != "classification":
            print(json.dumps({"path": path, "output": output.tolist()}))
            continue
        scores = np.exp(output - output.max()) / np.exp(output - output.max()).sum()
        best = [int(i) for i in np.argsort(-scores)[:5]]
        names = [(labels[i] if labels else f"class {i}", round(float(scores[i]), 6)) for i in best]
        print(json.dumps({"path": path, "predictions": names}))


if __name__ == "__main__":
    main(sys.argv[1:])
