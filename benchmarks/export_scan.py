"""Two forms of the selective scan in ONNX, in onnxruntime: one step a token, or blocks of tokens that advance side by side.

    python benchmarks/export_scan.py [--tokens 1569] [--channels 384] [--states 16] [--blocks 8 16 32] [--runs 8] [--threads 1]

In the second form every block starts from nothing, the states at the borders are carried from block to block, and all blocks
run again from them: far fewer steps, and every decay is computed twice. "times" is the median of the ratios of the rounds,
against one step a token. Both get softplus(delta); D, the gate and the bias are left out.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx.parser
import onnxruntime

from videomamba.bench.measure import describe_machine, measure
from videomamba.cli.output import cell, print_table

_HEAD = """<ir_version: 10, opset_import: ["" : 20]>
scan (float[b, l, e] d, float[b, l, e] u, float[n, e] A, float[b, l, n] B, float[b, l, n] C) => (float[b, l, e] y) {
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  x = Mul (d, u)
  batch = Shape <end = 1> (d)
  channels = Shape <start = 2> (d)
  states = Shape <start = 2> (B)
"""
_STEP = """
     exponent = Mul (dt, A)
     decay = Exp (exponent)
     kept = Mul (decay, h)
     bx = Mul (xt, Bt)
     following = Add (kept, bx)"""

TOKENS = (
    _HEAD
    + """
  three = Constant <value_ints = [3]> ()
  ds = Unsqueeze (d, two)
  xs = Unsqueeze (x, two)
  Bs = Unsqueeze (B, three)
  Cs = Unsqueeze (C, two)
  sizes = Concat <axis = 0> (batch, states, channels)
  nothing = Constant <value_float = 0.0> ()
  start = Expand (nothing, sizes)
  last, ys = Scan <num_scan_inputs = 4, scan_input_axes = [1, 1, 1, 1], scan_output_axes = [1], body = token (
    float[b, n, e] h, float[b, 1, e] dt, float[b, 1, e] xt, float[b, n, 1] Bt, float[b, 1, n] Ct
  ) => (float[b, n, e] following, float[b, 1, e] yt) {"""
    + _STEP
    + """
     yt = MatMul (Ct, following)
  }> (start, ds, xs, Bs, Cs)
  y = Squeeze (ys, two)
}"""
)

BLOCKS = (
    _HEAD
    + """
  size = Constant <value_ints = [SIZE]> ()
  zero = Constant <value_ints = [0]> ()
  rest = Constant <value_ints = [-1]> ()
  length = Shape <start = 1, end = 2> (d)
  negative = Neg (length)
  missing = Mod (negative, size)
  pads = Concat <axis = 0> (zero, zero, zero, zero, missing, zero)
  dp = Pad (d, pads)
  xp = Pad (x, pads)
  Bp = Pad (B, pads)
  Cp = Pad (C, pads)
  by_channel = Concat <axis = 0> (batch, rest, size, one, channels)
  column = Concat <axis = 0> (batch, rest, size, states, one)
  row = Concat <axis = 0> (batch, rest, size, one, states)
  ds = Reshape (dp, by_channel)
  xs = Reshape (xp, by_channel)
  Bs = Reshape (Bp, column)
  Cs = Reshape (Cp, row)
  total = ReduceSum <keepdims = 0> (ds, two)
  exponents = Mul (total, A)
  decays = Exp (exponents)
  start = Sub (decays, decays)
  ends = Scan <num_scan_inputs = 3, scan_input_axes = [2, 2, 2], body = first (
    float[b, k, n, e] h, float[b, k, 1, e] dt, float[b, k, 1, e] xt, float[b, k, n, 1] Bt
  ) => (float[b, k, n, e] following) {"""
    + _STEP
    + """
  }> (start, ds, xs, Bs)
  place = Constant <value_int = 0> ()
  border = Gather <axis = 1> (start, place)
  last, entries = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1], scan_output_axes = [1], body = borders (
    float[b, n, e] c, float[b, n, e] decay_of, float[b, n, e] end_of
  ) => (float[b, n, e] next, float[b, n, e] before) {
     before = Identity (c)
     carried = Mul (decay_of, c)
     next = Add (carried, end_of)
  }> (border, decays, ends)
  final, ys = Scan <num_scan_inputs = 4, scan_input_axes = [2, 2, 2, 2], scan_output_axes = [2], body = second (
    float[b, k, n, e] h, float[b, k, 1, e] dt, float[b, k, 1, e] xt, float[b, k, n, 1] Bt, float[b, k, 1, n] Ct
  ) => (float[b, k, n, e] following, float[b, k, 1, e] yt) {"""
    + _STEP
    + """
     yt = MatMul (Ct, following)
  }> (entries, ds, xs, Bs, Cs)
  flat = Concat <axis = 0> (batch, rest, channels)
  padded = Reshape (ys, flat)
  y = Slice (padded, zero, length, one)
}"""
)


def session(text: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    content = onnx.parser.parse_model(text).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1569)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="*", default=[8, 16, 32])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rng, length, channels, states = np.random.default_rng(0), options.tokens, options.channels, options.states

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    inputs = {
        "d": np.logaddexp(0, random(1, length, channels) - 3),
        "u": random(1, length, channels),
        "A": -states * rng.random((states, channels), np.float32),
        "B": random(1, length, states),
        "C": random(1, length, states),
    }
    sessions = {"tokens": session(TOKENS, options.threads)}
    for size in options.blocks:
        sessions[f"blocks of {size}"] = session(BLOCKS.replace("SIZE", str(size)), options.threads)
    results = {name: one.run(None, inputs)[0] for name, one in sessions.items()}
    times = measure({name: lambda one=one: one.run(None, inputs) for name, one in sessions.items()}, runs=options.runs)
    print(f"{length} tokens, {channels} channels, {states} states; {describe_machine()}")
    rows = [
        [
            name,
            cell(1e3 * timing.median),
            f"{timing.over(times['tokens']):.2f}",
            cell(float(np.abs(results[name] - results["tokens"]).max())),
        ]
        for name, timing in times.items()
    ]
    print_table(["scan", "ms", "times", "difference"], rows)


if __name__ == "__main__":
    main()
