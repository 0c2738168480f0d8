"""What all vectors of an index depend on: kept with it, and compared before anything is added or searched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from videomamba.schema import Preprocess, Settings, VideoMambaError
from videomamba.serving.clip_model import Precision
from videomamba.serving.search.encoder import weights_digest
from videomamba.serving.search.table import WindowTable


class IndexSettings(Settings):
    """What all vectors of an index depend on, except the videos and the machine. `dim` is their width.

    `weights_sha256` identifies the model, whose file may be moved; `model` is its name or its path. `text`: it reads sentences.
    """

    layout: Literal["videomamba-index-1"] = "videomamba-index-1"
    model: str
    weights_sha256: str
    text: bool
    preprocess: Preprocess
    precision: Precision
    dim: int = Field(ge=1)
    window: float = Field(gt=0)
    stride: float = Field(gt=0)

    @classmethod
    def of(cls, table: WindowTable) -> IndexSettings:
        """Raises VideoMambaError for an index that another version has made."""
        try:
            return cls.model_validate_json(table.settings)
        except ValidationError:
            raise VideoMambaError(
                f"{table.address}: was made by another version of videomamba; delete it and index the videos again"
            ) from None

    def difference(self, other: IndexSettings) -> str:
        """The first setting that differs, in words: "window 2.0, not 3.0"."""
        ours, theirs = self.model_dump(), other.model_dump()
        ours, theirs = ours | ours.pop("preprocess"), theirs | theirs.pop("preprocess")
        return next(f"{key} {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key])


def check_model(known: IndexSettings, model: str, address: str) -> str:
    """The digest of the weights of `model`. Raises VideoMambaError where they are not those of the index at `address`."""
    try:
        digest = weights_digest(model)
    except VideoMambaError as error:
        advice = f"{address} needs the model that made it; give its file with --model (model=... in Python)"
        raise VideoMambaError(f"{error}; {advice}") from None
    if digest != known.weights_sha256:
        raise VideoMambaError(
            f"{address}: was made by other weights than those of {model}: by {known.model}, SHA-256 "
            f"{known.weights_sha256[:12]}...; give those with --model, or make another index"
        )
    return digest
