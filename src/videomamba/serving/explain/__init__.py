"""Explanations: which parts of a clip a class came from, and whether that is true."""

from videomamba.serving.explain.answer import Explanation as Explanation
from videomamba.serving.explain.answer import explain as explain
