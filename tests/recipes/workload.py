"""What the processes that torchrun starts are to do, from a file: a list of trainings and evaluations, one after another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.recipes.runs import RECIPES, OtherTeacher, spoilt
from videomamba.data.loading.dataset import TrainClips
from videomamba.data.settings import DataSettings
from videomamba.recipes.evaluate import evaluate
from videomamba.recipes.testing import Result
from videomamba.training.distributed import Processes

WHOLE = TrainClips.__getitem__


def told(result: Result) -> dict[str, Any]:
    """All that a test has found, scores to the last digit."""
    found = vars(result) | result.as_dict()
    return {name: value if isinstance(value, int | float) else str(value) for name, value in found.items()}


def main(plan: Path, answers: Path) -> None:
    """Writes the answer of each process: the epoch's progress, or the result of the evaluation."""
    done: list[dict[str, Any]] = []
    for task in json.loads(plan.read_text()):
        if "train" in task:
            bad = task.get("poison")
            TrainClips.__getitem__ = WHOLE if bad is None else spoilt(WHOLE, lambda record, bad=bad: record == bad)
            recipe = RECIPES[task["recipe"]]
            given = {"teacher": OtherTeacher()} if "other" in task else {}
            done.append(vars(recipe.recipe(recipe.kind.model_validate(task["train"]), **given).progress))
        else:
            data = DataSettings.model_validate(task["data"])
            done.append(told(evaluate(task["evaluate"], data, views=task["views"], device="cpu")))
    rank = Processes(device="cpu").rank
    (answers / f"{rank}.json").write_text(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
