"""The harness of the ablations: what it repeats, what it refuses, and when a difference counts as decided."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from videomamba.schema import VideoMambaError

# Adds a line to the file of its first argument, and prints the second as an accuracy.
FAKE = """
import json, sys
file, top1 = sys.argv[1:3]
if top1 == "fail":
    sys.exit("no accuracy: the disk is full")
print("begun", file=open(file, "a"))
print(json.dumps({"top1": float(top1)}))
"""


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    return importlib.import_module("ablation")


@pytest.fixture
def run(ablation: ModuleType, tmp_path: Path) -> Callable[..., dict[str, list[float]]]:
    """Runs variants whose accuracies are given, two seeds each, in two commands of which the first is the same."""

    def run(jobs: int = 1, **accuracies: Sequence[object]) -> dict[str, list[float]]:
        variants = [
            ablation.Variant(name, lambda seed, folder, of=of: [(folder / "begun", 0.0), (folder / "begun", of[seed])])
            for name, of in accuracies.items()
        ]
        return ablation.run_all(variants, out=tmp_path, seeds=2, jobs=jobs, program=(sys.executable, "-c", FAKE))

    return run


def begun(folder: Path) -> int:
    return len((folder / "begun").read_text().splitlines())


def test_a_finished_command_is_not_repeated(
    run: Callable[..., dict[str, list[float]]], ablation: ModuleType, tmp_path: Path
) -> None:
    expected = {"a": [50.0, 60.0], "b": [25.0, 12.5]}
    assert run(jobs=2, a=(0.5, 0.6), b=(0.25, 0.125)) == expected
    assert run(a=(0.5, 0.6), b=(0.25, 0.125)) == expected
    assert begun(tmp_path / "a_0") == begun(tmp_path / "b_1") == 2

    file = tmp_path / "a_0" / ablation.FINISHED  # as after an interrupt in the second command
    file.write_text(json.dumps(json.loads(file.read_text())[:1]))
    assert run(a=(0.5, 0.6), b=(0.25, 0.125)) == expected
    assert begun(tmp_path / "a_0") == 3


def test_a_failed_command_shows_its_stderr_and_ends_the_study(
    run: Callable[..., dict[str, list[float]]], tmp_path: Path
) -> None:
    with pytest.raises(VideoMambaError, match=r"a_1: `.*begun fail` failed:\nno accuracy: the disk is full"):
        run(a=(0.5, "fail"), b=(0.25, 0.125))
    assert (begun(tmp_path / "a_1"), begun(tmp_path / "b_0")) == (1, 2)
    assert not (tmp_path / "b_1" / "begun").exists()
    with pytest.raises(VideoMambaError, match="fail"):
        run(a=(0.5, "fail"), b=(0.25, 0.125))
    assert (begun(tmp_path / "a_0"), begun(tmp_path / "a_1")) == (2, 1)


def test_results_of_other_commands_are_refused(run: Callable[..., dict[str, list[float]]]) -> None:
    run(a=(0.5, 0.6))
    with pytest.raises(VideoMambaError, match=r"finished.json: is of `.*begun 0.5`; choose another --out"):
        run(a=(0.7, 0.6))


def test_differences_are_paired_by_seed_and_judged_by_students_t(ablation: ModuleType) -> None:
    variants = [ablation.Variant(name, lambda *_: [], paper) for name, paper in (("a", 65.0), ("b", 62.0), ("c", 66.0))]
    found = {"a": [70.0, 80.0, 90.0], "b": [68.0, 79.0, 87.0], "c": [60.0, 85.0, 88.0]}
    ab, ac, bc = ablation.compare(variants, found)
    # Differences 2, 1, 3: mean 2, standard deviation 1, and t is 4.303 for two degrees of freedom.
    assert (ab.first, ab.second, ab.mean, ab.published) == ("a", "b", 2.0, 3.0)
    assert math.isclose(ab.half_width, 4.303 / math.sqrt(3))
    assert (ab.decided, ac.decided, bc.decided) == (False, False, False)

    found["b"] = [68.0, 78.5, 88.0]  # the spread of each variant is ten, that of their differences is not
    ab, *_ = ablation.compare(variants, found)
    assert (ab.decided, ab.reading) == (True, "better, as in the paper")
    ca, ba = ablation.compare(variants[::-1], found, baseline="a")
    assert (ca.first, ba.first, ca.second, ba.reading) == ("c", "b", "a", "worse, as in the paper")
    found["c"] = [80.0, 90.0, 101.0]
    ac = ablation.compare(variants, found)[1]
    assert ac.reading == "worse, as in the paper"
    bc = ablation.compare(variants, {**found, "b": [95.0, 106.0, 115.0]})[2]
    assert bc.reading == "better, unlike in the paper"


def test_one_seed_decides_nothing(ablation: ModuleType) -> None:
    variants = [ablation.Variant(name, lambda *_: []) for name in "ab"]
    (difference,) = ablation.compare(variants, {"a": [99.0], "b": [1.0]})
    assert (difference.mean, difference.half_width, difference.reading) == (98.0, math.inf, "undecided")


def test_the_report_is_a_table_or_records(ablation: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    variants = [ablation.Variant("a", lambda *_: [], 65.1), ablation.Variant("b", lambda *_: [])]
    found = {"a": [70.0, 72.0], "b": [60.0, 62.5]}
    curves = {"a": [(69.0, 70.0), (70.0, 71.0)], "b": [(60.0, 60.0), (61.0, 60.0)]}
    ablation.report(variants, found, paper="SSv2", as_json=True, curves=curves)
    a, b, difference = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (a["variant"], a["mean"], a["top1"], a["published"]) == ("a", 71.0, [70.0, 72.0], 65.1)
    assert (a["val_three_quarters"], a["val_end"], b["published"]) == (69.5, 70.5, None)
    assert (difference["mean"], difference["decided"], difference["reading"]) == (9.75, True, "better")

    ablation.report(variants, found, paper="SSv2", as_json=False, curves=curves)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "variant mean spread each seed val 3/4 val end paper, SSv2" in lines
    assert "a 71.0 1.4 70.0 72.0 69.5 70.5 65.1" in lines
    assert "a - b +9.8 +-3.2 - better" in lines


def test_the_curve_of_a_training_shows_whether_it_has_settled(ablation: ModuleType, tmp_path: Path) -> None:
    records = [{"kind": "epoch", "step": i, "epoch": i, "val_top1": i / 10} for i in range(8)]
    records.insert(3, {"kind": "step", "step": 3, "epoch": 3, "loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert ablation.settled(tmp_path) == pytest.approx((50.0, 70.0))
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(VideoMambaError, match="has no evaluation of an epoch"):
        ablation.settled(tmp_path)
