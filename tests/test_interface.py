"""The public names are a contract: what the documentation promises exists and is what it says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import videomamba


def test_the_names_of_the_package() -> None:
    assert set(videomamba.__all__) == {
        *("ops", "create_model", "from_pretrained", "list_models", "load_weights", "save"),
        *("Predictor", "Embedder", "timeline", "watch", "whole", "explain", "Search", "finetune", "evaluate"),
        *(
            "Prediction",
            "Embedding",
            "Timeline",
            "LiveAnswer",
            "WholeVideo",
            "Explanation",
            "Preprocess",
            "VideoMambaError",
        ),
        "__version__",
    }
    for name in videomamba.__all__:
        assert getattr(videomamba, name) is not None
    assert set(videomamba.__all__) <= set(dir(videomamba))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = videomamba.nothing


def test_the_signatures_of_the_ops() -> None:
    scan = inspect.signature(videomamba.ops.selective_scan).parameters
    assert list(scan) == [
        *("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "delta_softplus", "reverse"),
        *("initial_state", "return_final_state", "discretization", "lengths"),
    ]
    assert scan["delta_softplus"].default is True and scan["discretization"].default == "euler"
    conv = inspect.signature(videomamba.ops.causal_conv1d).parameters
    assert list(conv) == ["x", "weight", "bias", "activation", "reverse", "initial_state", "lengths"]
    assert conv["activation"].default == "silu"


@pytest.mark.parametrize(
    ("name", "first", "options"),
    [
        ("timeline", ["predictor", "path"], {"window", "stride", "threshold", "bridge", "shortest", "progress"}),
        ("watch", ["predictor", "source"], {"window", "stride", "drop", "top", "threshold", "timeout", "reconnect"}),
        ("whole", ["predictor", "path"], {"fps", "top", "progress"}),
        ("explain", ["predictor", "path"], {"method", "target", "comparison", "progress"}),
    ],
)
def test_the_signatures_of_the_answers(name: str, first: list[str], options: set[str]) -> None:
    """First the model, then the video; all else by keyword and optional."""
    parameters = inspect.signature(getattr(videomamba, name)).parameters
    assert [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == first
    by_keyword = {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    assert set(parameters) == by_keyword | set(first) and options <= by_keyword


@pytest.mark.parametrize(
    ("name", "first", "options"),
    [
        ("finetune", ["folder", "out"], {"weights", "epochs", "seed", "device", "notify"}),
        ("evaluate", ["weights", "data"], {"split", "views", "labels", "device", "precision", "progress"}),
    ],
)
def test_the_signatures_of_the_runs(name: str, first: list[str], options: set[str]) -> None:
    """What a run is about by position; its options by keyword, with the names of the command line."""
    parameters = inspect.signature(getattr(videomamba, name)).parameters
    assert [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == first
    by_keyword = {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    assert set(parameters) == by_keyword | set(first) and options <= by_keyword


def test_every_public_name_says_what_it_is() -> None:
    for name in set(videomamba.__all__) - {"__version__"}:
        assert (getattr(videomamba, name).__doc__ or "").strip(), name


def test_the_signatures_of_the_networks() -> None:
    names = {name: inspect.signature(getattr(videomamba, name)).parameters for name in ("from_pretrained", "save")}
    assert list(names["from_pretrained"]) == ["name_or_path", "num_classes", "num_frames", "image_size"]
    assert list(names["save"]) == ["model", "path", "preprocess", "labels"]
    assert names["save"]["preprocess"].default is inspect.Parameter.empty


def test_type_checkers_find_the_types() -> None:
    assert (Path(videomamba.__file__).parent / "py.typed").is_file()
