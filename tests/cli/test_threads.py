"""How threads wait: the command line settles it before PyTorch is imported; the package alone sets nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from videomamba.cli.threads import CHOICES, WAITING, wait_briefly


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`script` in a process of its own, whose environment has no other choice of how to wait."""
    clean = {name: value for name, value in os.environ.items() if name not in CHOICES}
    return subprocess.run(
        [sys.executable, "-c", script, "--version"],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_nothing_is_chosen() -> None:
    environment = {"PATH": "/bin"}
    wait_briefly(environment)
    assert environment == {"PATH": "/bin", **WAITING}


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_of_the_user_stands(name: str) -> None:
    environment = {name: ""}
    wait_briefly(environment)
    assert environment == {name: ""}


THEN_PYTORCH = """
from videomamba.__main__ import main
try:
    main()
except SystemExit:
    import torch
"""


@pytest.mark.parametrize(("chosen", "count"), [({}, WAITING["GOMP_SPINCOUNT"]), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_pytorch_is_loaded_after_it(chosen: dict[str, str], count: str) -> None:
    """The runtime itself reports what it has read."""
    stderr = run(THEN_PYTORCH, OMP_DISPLAY_ENV="verbose", **chosen).stderr
    if "GOMP_SPINCOUNT" not in stderr:
        pytest.skip("this PyTorch has another OpenMP runtime than GNU's, or none")
    assert re.findall(r"GOMP_SPINCOUNT\s*=\s*'(\d+)'", stderr) == [count]  # one runtime, for our kernels too


def test_importing_the_package_sets_nothing() -> None:
    script = "import os; before = dict(os.environ); import videomamba, videomamba.__main__; assert os.environ == before"
    run(script)
