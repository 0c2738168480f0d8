"""The kernels' own test program under AddressSanitizer and UndefinedBehaviorSanitizer, for each instruction set."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from videomamba.ops import native

CSRC = Path(__file__).resolve().parents[2] / "csrc"
OPTIONS = {
    "generic": ["-DVM_LANES=4"],
    "neon": ["-DVM_LANES=4"],
    "avx2": ["-DVM_LANES=8", "-mavx2", "-mfma"],
    "avx512": ["-DVM_LANES=16", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None or native.kernels is None, reason="needs g++ and the native kernels")
@pytest.mark.parametrize("isa", native.kernels.isas() if native.kernels is not None else [])
def test_the_kernels_under_sanitizers(isa: str, tmp_path: Path) -> None:
    program = tmp_path / "test_kernels"
    flags = ["-std=c++17", "-O1", "-g", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
    flags += [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-Wno-psabi",
        f"-DVM_ISA={isa}",
        *OPTIONS[isa],
    ]
    sources = [str(CSRC / "kernels.cpp"), str(CSRC / "test_kernels.cpp")]
    subprocess.run(["g++", *flags, *sources, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{isa}: 2986 cases")
