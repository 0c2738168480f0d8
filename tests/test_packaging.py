"""What the files around the package say of it is what pyproject.toml says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from tests.installed_wheel import CLASSES
from videomamba.synthetic.actions import ACTIONS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PROJECT["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert len(citation["preferred-citation"]["authors"]) == 7


def test_every_python_that_has_a_wheel_is_tried_installed() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8"))
    built = PROJECT["tool"]["cibuildwheel"]["build"]
    jobs = workflow["jobs"]
    tried = jobs["installed"]["strategy"]["matrix"]
    assert built == [f"cp{version.replace('.', '')}-*" for version in tried["python"]]
    assert tried["os"] == jobs["wheels"]["strategy"]["matrix"]["os"]
    assert built[0] == f"cp{PROJECT['project']['requires-python'].removeprefix('>=').replace('.', '')}-*"


def test_files_that_the_build_and_the_container_need_exist() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((ROOT / line.removeprefix("!")).exists() for line in ignored if line.startswith("!"))
    assert (ROOT / "tests" / "kernels_load.py").is_file()
    assert "tests/kernels_load.py" in PROJECT["tool"]["cibuildwheel"]["test-command"]
    assert (ROOT / "src" / "videomamba" / "py.typed").is_file()


def test_issue_templates_have_what_a_form_needs() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(templates) == 3
    for template in templates:
        form = yaml.safe_load(template.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= form.keys()
        ids = [field["id"] for field in form["body"]]
        assert len(set(ids)) == len(ids) and all(field["attributes"]["label"] for field in form["body"])


def test_the_classes_of_the_wheel_test_are_rendered() -> None:
    assert set(CLASSES) < set(ACTIONS)
