"""The backends that this machine uses, and why: the answer to "why is it slow" and "is it installed correctly"."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import av
import numpy as np
import torch

from videomamba.ops import dispatch
from videomamba.schema import WeightsError
from videomamba.video.encode import write_video
from videomamba.video.open import open_video
from videomamba.weights.zoo import resolve_weights, zoo_entry, zoo_names

_CALLS = {"selective_scan": dispatch.ScanCall, "causal_conv1d": dispatch.ConvCall}
_OPTIONAL = {
    "torchcodec": ("torchcodec", "a second decoder"),
    "matplotlib": ("plot", "pictures of timelines, reports, annotated videos"),
    "lightning-fabric": ("train", "training in several processes"),
    "tensorboard": ("train", "events of a training"),
    "transformers": (
        "text",
        "CLIP as a teacher; as videomamba[hf], its models and Trainer; as videomamba[peers], networks to compare with",
    ),
    "tokenizers": ("text", "sentences; also in videomamba[search]"),
    "webdataset": ("text", "videos with texts in tar shards"),
    "lancedb": ("search", "an index of videos and its search"),
    "pyarrow": ("parquet", "features as Parquet"),
    "ray": ("ray", "features on a cluster"),
    "opentimelineio": ("edit", "edit lists of shots"),
    "captum": ("explain", "integrated gradients"),
    "otio-cmx3600-adapter": ("edit", "their format"),
    "onnx": ("export", "networks as ONNX files; with videomamba[openvino] also for OpenVINO"),
    "onnxscript": ("export", "the same"),
    "onnxruntime": ("export", "the same, and running them"),
    "openvino": ("openvino", "networks for OpenVINO"),
    "accelerate": ("hf", "transformers' Trainer"),
    "peft": ("hf", "adapters (LoRA)"),
}
"""package -> (our extra that installs it, its use)"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `ok` is False where the user should look at it."""

    topic: str
    finding: str
    ok: bool = True

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine() -> list[Finding]:
    """Everything `videomamba doctor` prints, in order. Runs in a second and changes nothing."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    codec, native = ".".join(map(str, av.library_versions["libavcodec"])), dispatch.describe_native()
    found = [
        Finding("videomamba", f"{metadata.version('videomamba')}, {python}"),
        Finding("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Finding("PyAV", f"{av.__version__} (FFmpeg libavcodec {codec})"),
        _decoding(),
        Finding("native kernels", native, ok=not native.startswith("absent")),
    ]
    for device in _devices():
        for dtype in (torch.float32, torch.bfloat16):
            for op, call in _CALLS.items():
                verdicts = dispatch.explain(call(device, dtype))
                server = next(name for name, verdict in verdicts if verdict == "serves")
                unable = [(name, verdict) for name, verdict in verdicts if verdict not in ("serves", "can serve")]
                why = "; ".join(f"not {name}: {verdict}" for name, verdict in unable)
                topic = f"{op} on {device.type}, {str(dtype).removeprefix('torch.')}"
                answer = f"{server} ({why})" if why else server
                found.append(Finding(topic, answer, ok=not (why and device.type == "cpu")))
    found += [_optional(package, extra, use) for package, (extra, use) in _OPTIONAL.items()]
    return found + [_packaged(name) for name in zoo_names() if zoo_entry(name).packaged]


def _packaged(name: str) -> Finding:
    try:
        return Finding("packaged model", str(resolve_weights(name)))
    except WeightsError as error:
        return Finding("packaged model", str(error), ok=False)


def _decoding() -> Finding:
    """Encodes a small video into a temporary file, opens it as any other, and looks at its pictures."""
    shades = np.linspace(40, 200, 12).round().astype(np.uint8)
    pictures = np.broadcast_to(shades[:, None, None, None], (12, 64, 64, 3))
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(path, np.ascontiguousarray(pictures), fps=12)
            with open_video(path) as video:
                seen = video.frames(range(video.info.num_frames)).data.float().mean(dim=(1, 2, 3))
        if len(seen) != len(shades) or (seen - torch.from_numpy(shades)).abs().max() > 8:
            raise ValueError(f"{len(seen)} of {len(shades)} pictures, or not those that were encoded")
    except Exception as error:  # whatever is wrong with the installation is the finding
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return Finding("decoding", f"failed with PyAV {av.__version__}: {reason}", ok=False)
    return Finding("decoding", f"works: {len(seen)} pictures of a new H.264 file came back as they were")


def _optional(package: str, extra: str, use: str) -> Finding:
    try:
        return Finding(package, f"{metadata.version(package)} ({use})")
    except metadata.PackageNotFoundError:
        return Finding(package, f"not installed (optional: {use}; pip install 'videomamba[{extra}]')")


def _devices() -> list[torch.device]:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [torch.device(name) for name, available in there.items() if available]
