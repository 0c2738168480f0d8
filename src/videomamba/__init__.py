"""VideoMamba (arXiv 2403.06977): video understanding in time linear in the length of the video.

The names below are loaded when they are first used, so that importing the package needs neither PyTorch nor PyAV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from videomamba import ops as ops
    from videomamba.models.registry import create_model as create_model
    from videomamba.models.registry import list_models as list_models
    from videomamba.models.weights import load_weights as load_weights
    from videomamba.schema import Prediction as Prediction
    from videomamba.schema import Preprocess as Preprocess
    from videomamba.schema import VideoMambaError as VideoMambaError
    from videomamba.serving.predictor import Predictor as Predictor

_HOME = {
    "ops": "videomamba.ops",
    "create_model": "videomamba.models.registry",
    "list_models": "videomamba.models.registry",
    "load_weights": "videomamba.models.weights",
    "Predictor": "videomamba.serving.predictor",
    "Prediction": "videomamba.schema",
    "Preprocess": "videomamba.schema",
    "VideoMambaError": "videomamba.schema",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'videomamba' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if name == "ops" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
