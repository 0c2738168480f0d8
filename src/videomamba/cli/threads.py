"""How the threads of PyTorch and of our kernels wait for one another, which is settled before PyTorch is imported.

Both share one OpenMP runtime (`ops/native.py`). Its threads wait by spinning: GNU's for about 3 ms, LLVM's and Intel's for
200 ms. On a machine with other work, a spinning thread takes the core that the thread it waits for needs. The runtime reads
the environment once, when it is loaded, so nothing can be changed after `import torch`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

WAITING: Mapping[str, str] = {"GOMP_SPINCOUNT": "10000"}
"""A waiting thread spins for about 0.1 ms, then sleeps. Only GNU's runtime, that of PyTorch for Linux, reads this variable.

To sleep at once (OMP_WAIT_POLICY=passive) costs a quarter on a quiet machine: `benchmarks/busy_machine.py`.
"""

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""The variables by which a user chooses otherwise."""


def wait_briefly(environment: MutableMapping[str, str]) -> None:
    """Adds WAITING to `environment`, unless it holds one of CHOICES. Processes that this one starts inherit it."""
    if not any(name in environment for name in CHOICES):
        environment.update(WAITING)
