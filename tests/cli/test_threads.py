"""How threads wait: the command line settles it before PyTorch is imported; the package alone sets nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from videomamba.cli.threads import CHOICES, WAITING, sleep_while_waiting


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
    sleep_while_waiting(environment)
    assert environment == {"PATH": "/bin", **WAITING}


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_of_the_user_stands(name: str) -> None:
    environment = {name: ""}
    sleep_while_waiting(environment)
    assert environment == {name: ""}


THEN_PYTORCH = """
from videomamba.__main__ import main
try:
    main()
except SystemExit:
    import torch
"""


@pytest.mark.parametrize(("chosen", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_pytorch_is_loaded_after_it(chosen: dict[str, str], policy: str) -> None:
    """The runtime itself reports what it has read."""
    stderr = run(THEN_PYTORCH, OMP_DISPLAY_ENV="true", **chosen).stderr
    if "OMP_WAIT_POLICY" not in stderr:
        pytest.skip("this PyTorch is built without OpenMP")
    assert re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", stderr) == [policy]  # one runtime, for our kernels too


def test_importing_the_package_sets_nothing() -> None:
    script = "import os; before = dict(os.environ); import videomamba, videomamba.__main__; assert os.environ == before"
    run(script)
