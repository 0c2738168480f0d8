"""The lower bounds of pyproject.toml as constraints for pip."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lowest_versions import PYPROJECT, constraints


def a_project(*dependencies: str, extra: str = "c>=2") -> str:
    return (
        '[build-system]\nrequires = ["b-uild>=0.11"]\n'
        f'[project]\ndependencies = {list(dependencies)}\n[project.optional-dependencies]\nx = ["{extra}"]\n'
    )


def test_every_bound_becomes_a_version() -> None:
    assert constraints(a_project("Torch>=2.11", "a_b[data]>=0.9.20", extra="a_b>=0.9.20")) == [
        "a_b==0.9.20",
        "b-uild==0.11",
        "Torch==2.11",
    ]


@pytest.mark.parametrize("requirement", ["a", "a==1", "a>=1,<2", "a>=1; sys_platform == 'linux'", "a>1"])
def test_a_requirement_without_a_plain_bound_is_named(requirement: str) -> None:
    with pytest.raises(ValueError, match="no lower bound of the form name>=version") as caught:
        constraints(a_project(requirement))
    assert repr(requirement) in str(caught.value)


@pytest.mark.parametrize("extra", ["a-b>=2", "A.B>=2"])
def test_one_package_has_one_bound(extra: str) -> None:
    """However its name is written: pip treats - and _ and . alike."""
    with pytest.raises(ValueError, match="use one bound"):
        constraints(a_project("a_b>=1", extra=extra))


def test_the_bounds_of_this_project() -> None:
    command = [sys.executable, "-S", "-m", "tests.lowest_versions"]  # -S: without installed packages
    found = subprocess.run(command, cwd=PYPROJECT.parent, capture_output=True, text=True, check=True, timeout=60)
    lines = found.stdout.splitlines()
    assert {"torch", "av", "pytest", "nanobind"} <= {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)
