"""VideoMamba (arXiv 2403.06977): video understanding in time linear in the length of the video.

The names below are loaded when they are first used, so that importing the package needs neither PyTorch nor PyAV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from videomamba import ops as ops
    from videomamba.models.registry import list_models as list_models
    from videomamba.recipes.evaluate import evaluate as evaluate
    from videomamba.recipes.finetune import finetune as finetune
    from videomamba.schema import Prediction as Prediction
    from videomamba.schema import Preprocess as Preprocess
    from videomamba.schema import VideoMambaError as VideoMambaError
    from videomamba.serving.embedder import Embedder as Embedder
    from videomamba.serving.embedder import Embedding as Embedding
    from videomamba.serving.explain.answer import Explanation as Explanation
    from videomamba.serving.explain.answer import explain as explain
    from videomamba.serving.live import LiveAnswer as LiveAnswer
    from videomamba.serving.live import watch as watch
    from videomamba.serving.predictor import Predictor as Predictor
    from videomamba.serving.search.search import Search as Search
    from videomamba.serving.timeline import Timeline as Timeline
    from videomamba.serving.timeline import timeline as timeline
    from videomamba.serving.whole import WholeVideo as WholeVideo
    from videomamba.serving.whole import whole as whole
    from videomamba.weights.create import create_model as create_model
    from videomamba.weights.create import from_pretrained as from_pretrained
    from videomamba.weights.create import save as save
    from videomamba.weights.load import load_weights as load_weights

_HOME = {
    "ops": "videomamba.ops",
    "create_model": "videomamba.weights.create",
    "from_pretrained": "videomamba.weights.create",
    "save": "videomamba.weights.create",
    "list_models": "videomamba.models.registry",
    "load_weights": "videomamba.weights.load",
    "Predictor": "videomamba.serving.predictor",
    "Embedder": "videomamba.serving.embedder",
    "timeline": "videomamba.serving.timeline",
    "watch": "videomamba.serving.live",
    "whole": "videomamba.serving.whole",
    "Search": "videomamba.serving.search.search",
    "explain": "videomamba.serving.explain.answer",
    "finetune": "videomamba.recipes.finetune",
    "evaluate": "videomamba.recipes.evaluate",
    "Prediction": "videomamba.schema",
    "Embedding": "videomamba.serving.embedder",
    "Timeline": "videomamba.serving.timeline",
    "LiveAnswer": "videomamba.serving.live",
    "WholeVideo": "videomamba.serving.whole",
    "Explanation": "videomamba.serving.explain.answer",
    "Preprocess": "videomamba.schema",
    "VideoMambaError": "videomamba.schema",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("videomamba")
    if name not in _HOME:
        raise AttributeError(f"module 'videomamba' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if name == "ops" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
