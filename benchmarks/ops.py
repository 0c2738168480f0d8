"""The operators on this machine: time, ratio to the reference and to PyTorch's own, all in one run.

    python benchmarks/ops.py [--json]

One VideoMamba-Ti layer at 16 frames and 224 pixels: b 1, l 3137, e 384, n 16, k 4. Each figure is the median of several
runs after a warm-up; "scan" is one direction, with softplus, bias, D and gate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from videomamba.ops import causal_conv1d, native, selective_scan
from videomamba.ops.dispatch import use_backend

LENGTH, CHANNELS, STATES, TAPS = 3137, 384, 16, 4


def milliseconds(run: Callable[[], object], *, runs: int) -> tuple[float, float]:
    """(median, spread between the quartiles) of `runs` runs after two that do not count."""
    times = []
    for i in range(runs + 2):
        started = time.perf_counter()
        run()
        if i >= 2:
            times.append(1000 * (time.perf_counter() - started))
    quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
    return statistics.median(times), quartiles[2] - quartiles[0]


def inputs(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "u": normal(1, LENGTH, CHANNELS).to(dtype),
        "delta": normal(1, LENGTH, CHANNELS).to(dtype) - 3,
        "A": -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1),
        "B": normal(1, LENGTH, STATES).to(dtype),
        "C": normal(1, LENGTH, STATES).to(dtype),
        "D": normal(CHANNELS),
        "z": normal(1, LENGTH, CHANNELS).to(dtype),
        "delta_bias": normal(CHANNELS),
    }


def isas() -> list[str]:
    return list(native.kernels.isas()) if native.kernels is not None else []


def both_directions(call: dict[str, torch.Tensor]) -> None:
    selective_scan(**call)
    selective_scan(**call, reverse=True)


def measure() -> Iterator[dict[str, object]]:
    """One record for each figure, as it is found."""
    for dtype in (torch.float32, torch.bfloat16):
        call = inputs(dtype)
        kind = str(dtype).removeprefix("torch.")
        with torch.inference_mode():
            with use_backend("reference"):
                reference, spread = milliseconds(lambda call=call: both_directions(call), runs=3)
            yield {"op": "scan, 2 directions", "dtype": kind, "backend": "reference", "ms": reference, "spread": spread}
            with use_backend("chunked"):
                ms, spread = milliseconds(lambda call=call: both_directions(call), runs=5)
            yield {"op": "scan, 2 directions", "dtype": kind, "backend": "chunked", "ms": ms, "spread": spread}
            yield {"ratio": f"reference / chunked, {kind}", "value": reference / ms}
            for isa in isas():
                native.kernels.set_isa(isa)
                ms, spread = milliseconds(lambda call=call: both_directions(call), runs=15)
                record = {"op": "scan, 2 directions", "dtype": kind, "backend": f"native {isa}", "ms": ms}
                yield {**record, "spread": spread}
                yield {"ratio": f"reference / native {isa}, {kind}", "value": reference / ms}

            weight, bias, x = torch.randn(CHANNELS, TAPS), torch.randn(CHANNELS), call["u"]
            grouped, channels_first = weight[:, None].to(dtype), x.transpose(1, 2).contiguous()

            def peer(
                x: torch.Tensor = channels_first, w: torch.Tensor = grouped, b: torch.Tensor = bias
            ) -> torch.Tensor:
                return F.conv1d(x, w, b.to(x.dtype), padding=TAPS - 1, groups=CHANNELS)

            alone, spread = milliseconds(peer, runs=15)
            yield {"op": "conv", "dtype": kind, "backend": "torch conv1d", "ms": alone, "spread": spread}
            same, spread = milliseconds(lambda peer=peer: F.silu(peer()[..., :LENGTH]).mT.contiguous(), runs=15)
            yield {"op": "conv + silu", "dtype": kind, "backend": "torch conv1d", "ms": same, "spread": spread}
            for isa in isas():
                native.kernels.set_isa(isa)
                ms, spread = milliseconds(lambda x=x, w=weight, b=bias: causal_conv1d(x, w, b), runs=15)
                yield {"op": "conv + silu", "dtype": kind, "backend": f"native {isa}", "ms": ms, "spread": spread}
                yield {"ratio": f"torch conv1d + silu / native {isa} conv + silu, {kind}", "value": same / ms}
                yield {"ratio": f"torch conv1d alone / native {isa} conv + silu, {kind}", "value": alone / ms}
        if isas():
            native.kernels.set_isa(isas()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    as_json = parser.parse_args().json
    if not as_json:
        print(f"{torch.get_num_threads()} threads; b 1, l {LENGTH}, e {CHANNELS}, n {STATES}, k {TAPS}")
    for record in measure():
        if as_json:
            print(json.dumps(record), flush=True)
        elif "ratio" in record:
            print(f"{'':44}{record['ratio']}: {record['value']:.1f}x", flush=True)
        else:
            name = f"{record['op']}, {record['dtype']}, {record['backend']}"
            print(f"{name:44}{record['ms']:9.3f} ms  +- {record['spread']:.3f}", flush=True)


if __name__ == "__main__":
    main()
