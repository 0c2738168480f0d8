"""The backends that this machine uses, and why: the answer to "why is it slow" and "is it installed correctly"."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import asdict, dataclass
from importlib import metadata

import av
import torch

from videomamba.ops import dispatch
from videomamba.schema import WeightsError
from videomamba.serving.predictor import EMBEDDED_DEFAULT
from videomamba.weights.zoo import resolve_weights

_CALLS = {"selective_scan": dispatch.ScanCall, "causal_conv1d": dispatch.ConvCall}
_OPTIONAL = {"torchcodec": "a second decoder: pip install 'videomamba[torchcodec]'"}


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
    for package, use in _OPTIONAL.items():
        there = importlib.util.find_spec(package) is not None
        found.append(Finding(package, "installed" if there else f"not installed (optional; {use})"))
    try:
        found.append(Finding("embedded model", str(resolve_weights(EMBEDDED_DEFAULT))))
    except WeightsError as error:
        found.append(Finding("embedded model", str(error), ok=False))
    return found


def _devices() -> list[torch.device]:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [torch.device(name) for name, available in there.items() if available]
