"""The public names are a contract: what the documentation promises exists and is what it says."""

from __future__ import annotations

import inspect

import pytest

import videomamba


def test_the_names_of_the_package() -> None:
    assert set(videomamba.__all__) == {
        *("ops", "create_model", "list_models", "load_weights", "Predictor", "Prediction", "Preprocess"),
        *("VideoMambaError", "__version__"),
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


def test_every_public_function_says_what_it_does() -> None:
    for name in ("create_model", "list_models", "load_weights", "Predictor"):
        assert (getattr(videomamba, name).__doc__ or "").strip(), name
