"""What an exported file says about itself, so that a program needs nothing else to use it: labels and preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from videomamba.weights.pretrained import Pretrained

FORMAT = "videomamba-export-1"


def describe(opened: Pretrained, name: str, *, frames_free: bool) -> Mapping[str, str]:
    """The metadata of an exported file, each value a string: "format", "model" (its name), "frames" ("free" where shorter
    clips are allowed, else "fixed"), "task", and as JSON "config", "preprocess", "labels" ([] where they are unknown) and
    "knows" (a remark on what the model knows, "" without one)."""
    classes = opened.model.config.num_classes
    return {
        "format": FORMAT,
        "model": name,
        "frames": "free" if frames_free else "fixed",
        "task": "regression" if opened.regression else "classification" if classes else "features",
        "config": opened.model.config.model_dump_json(),
        "preprocess": opened.preprocess.model_dump_json(),
        "labels": json.dumps(list(opened.labels)),
        "knows": json.dumps(opened.knows),
    }
