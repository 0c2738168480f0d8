"""From a weights file to a folder of transformers: config, weights, processor, code file and model card."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from videomamba.export.transformers.card import model_card
from videomamba.export.transformers.configuration import VideoMambaHFConfig
from videomamba.export.transformers.modeling import (
    VideoMambaForVideoClassification,
    VideoMambaModel,
    VideoMambaPreTrainedModel,
)
from videomamba.export.transformers.processing import VideoMambaImageProcessor
from videomamba.files import make_folder
from videomamba.models.init import undrawn
from videomamba.schema import WeightsError
from videomamba.weights.pretrained import Pretrained, open_pretrained
from videomamba.weights.report import LoadReport


def convert_to_folder(
    name_or_path: str | Path,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    overwrite: bool = False,
) -> LoadReport:
    """Writes a zoo name or a weights file as the folder `out`, which transformers loads; its weights are float32.

    With a head it is a `VideoMambaForVideoClassification`, else a `VideoMambaModel`. Classes without known names are called
    "class 0", "class 1", ..., as in `videomamba predict`. `labels`, `num_frames` and `image_size` are as in `open_pretrained`.
    The folder is complete or absent; with `overwrite` its files replace those of the same names.

    Raises WeightsError where the weights cannot be read or the folder exists without `overwrite` or cannot be written,
    VideoMambaError for `labels` that do not fit.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and (overwrite or not any(out.iterdir()))):
        advice = (
            "choose another name"
            if not out.is_dir()
            else "choose another folder, or replace its files with --overwrite"
        )
        raise WeightsError(f"{out}: exists; {advice}")
    opened = open_pretrained(
        name_or_path, labels=labels, num_frames=num_frames, image_size=image_size, needs_head=False
    )
    model, processor = as_transformers(opened)
    make_folder(out.absolute().parent)
    try:
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as temporary:
            folder = Path(temporary) / out.name
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            (folder / "README.md").write_text(model_card(opened, str(name_or_path), out.name), encoding="utf-8")
            for file in folder.iterdir():
                file.chmod((folder / "README.md").stat().st_mode)  # safetensors would allow only the owner
            if out.is_dir() and any(out.iterdir()):
                for file in folder.iterdir():
                    file.replace(out / file.name)
            else:
                folder.replace(out)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise WeightsError(f"{out}: cannot be written ({reason}); choose another folder") from error
    return opened.report


def as_transformers(opened: Pretrained) -> tuple[VideoMambaPreTrainedModel, VideoMambaImageProcessor]:
    """The model of transformers with the parameters of `opened`, which it shares, and its processor."""
    network = opened.model.config
    others = {"problem_type": "regression"} if opened.regression else {}
    labels = opened.labels or tuple(f"class {i}" for i in range(network.num_classes))
    config = VideoMambaHFConfig.of_network(network, labels, **others)
    kind = VideoMambaForVideoClassification if network.num_classes else VideoMambaModel
    model: VideoMambaPreTrainedModel = undrawn(partial(kind, config))
    tensors = opened.model.state_dict()
    within = "videomamba.network." if network.num_classes else "network."
    named = {
        key.replace("head.", "classifier.") if key.startswith("head.") else within + key: tensors[key]
        for key in tensors
    }
    model.load_state_dict(named, assign=True)
    return model.eval(), VideoMambaImageProcessor(opened.preprocess)
