"""Every dependency of pyproject.toml at its lower bound, as constraints for pip: `python -m tests.lowest_versions`.

It runs before anything is installed, so it needs only the standard library.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[\w,.-]+\])?>=(?P<version>[0-9][0-9.]*)")


def constraints(pyproject: str) -> list[str]:
    """Lines `name==version` for what the build, the package, its extras and development need, sorted by name.

    Raises:
        ValueError: a requirement is no `name>=version`, or two requirements give one package different bounds.
    """
    tables = tomllib.loads(pyproject)
    project = tables["project"]
    bounds: dict[str, tuple[str, str]] = {}  # by the name as pip compares it
    for requirement in (
        *tables["build-system"]["requires"],
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ):
        found = _REQUIREMENT.fullmatch(requirement)
        if found is None:
            raise ValueError(f"pyproject.toml: {requirement!r} has no lower bound of the form name>=version")
        name, version = found["name"], found["version"]
        _, other = bounds.setdefault(re.sub(r"[-_.]+", "-", name).lower(), (name, version))
        if other != version:
            raise ValueError(f"pyproject.toml: {name} is required from {other} and from {version}: use one bound")
    return [f"{name}=={version}" for _, (name, version) in sorted(bounds.items())]


if __name__ == "__main__":
    print(*constraints(PYPROJECT.read_text(encoding="utf-8")), sep="\n")
