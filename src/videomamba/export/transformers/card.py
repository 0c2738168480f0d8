"""The model card, README.md of a converted folder: what the model is, its training data, accuracy and licence.

It states what the zoo and the weights file say, and says so where they say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from huggingface_hub import ModelCardData

from videomamba.models.registry import name_of_size
from videomamba.schema import counted
from videomamba.weights.pretrained import Pretrained
from videomamba.weights.released import ZooEntry
from videomamba.weights.zoo import entry_for_file

_LICENCE_OF_RELEASED = "apache-2.0"  # that of the authors' repository, OpenGVLab/VideoMamba
_UNKNOWN = "The weights file does not say."


def model_card(opened: Pretrained, source: str, folder: str) -> str:
    """The text, for weights that the user called `source` and a folder called `folder`."""
    entry = entry_for_file(opened.path)
    released = entry is not None and not entry.packaged
    licence = _LICENCE_OF_RELEASED if released else str(opened.info.get("license", "")).lower()
    head = opened.model.config.num_classes
    data = ModelCardData(
        license=licence or None,
        library_name="transformers",
        pipeline_tag="video-classification" if head else "image-feature-extraction",
        tags=["videomamba", "video", "mamba", "custom_code"],
    )
    parts = [f"---\n{data.to_yaml()}\n---\n\n# {folder}\n", *_what(opened, source, entry)]
    parts += [f"## Training data\n\n{_training(opened, entry)}\n", f"## Accuracy\n\n{_accuracy(opened, entry)}\n"]
    parts += [f"## Licence\n\n{_licence(licence, released)}\n", f"## Use\n\n{_use(bool(head), folder)}\n"]
    return "\n".join(parts)


def _what(opened: Pretrained, source: str, entry: ZooEntry | None) -> Iterator[str]:
    config = opened.model.config
    name = entry.architecture if entry is not None else name_of_size(config.dim, config.depth) or "VideoMamba"
    size = f"{sum(parameter.numel() for parameter in opened.model.parameters()) / 1e6:.1f} million parameters"
    height, width = config.image_size
    task = "a regression" if opened.regression else counted(config.num_classes, "class", "classes")
    yield (
        f"A VideoMamba ([arXiv 2403.06977](https://arxiv.org/abs/2403.06977)): `{name}`, width {config.dim}, "
        f"{counted(config.depth, 'layer')}, {size}.\n\n"
        f"- Input: {counted(config.num_frames, 'frame')} of {width}x{height} pixels, sampling `{opened.preprocess.sampling}`\n"
        f"- Output: {task if config.num_classes else f'features of {config.dim} numbers, without a head'}\n"
        f"- Converted from `{source}` by `videomamba convert`\n"
    )
    if opened.knows:
        yield f"**{opened.knows}.**\n"
    if opened.assumed:
        yield f"{opened.assumed}.\n"
    if entry is not None and (entry.faults or entry.notes):
        yield "\n".join(f"- {line}" for line in (*entry.faults, *entry.notes)) + "\n"


def _training(opened: Pretrained, entry: ZooEntry | None) -> str:
    if entry is not None and not entry.packaged:
        before = f", after training as `{entry.init}`" if entry.init else ""
        return f"{entry.dataset}{before}. The data set has a licence of its own."
    told = [
        f"- {key}: {opened.info[key]}"
        for key in ("data", "preset", "weights", "epochs", "steps")
        if opened.info.get(key)
    ]
    return "\n".join(told) or _UNKNOWN


def _accuracy(opened: Pretrained, entry: ZooEntry | None) -> str:
    if entry is not None and entry.top1 is not None:
        views = f"{entry.clips} clips x {entry.crops} crops of each video"
        seen = (
            f" with {views}; the pipeline shows the model one clip and one crop"
            if entry.clips * entry.crops > 1
            else ""
        )
        return f"{entry.top1} % top-1 on {entry.dataset}, as its authors report it{seen}. It was not measured for this card."
    if entry is not None and entry.zero_shot:
        return "Of the complete video-text model the authors report retrieval; this folder is its video tower alone."
    return f"{opened.info['validation']}." if "validation" in opened.info else _UNKNOWN


def _licence(licence: str, released: bool) -> str:
    if released:
        return f"{licence}, that of the authors' repository [OpenGVLab/VideoMamba](https://github.com/OpenGVLab/VideoMamba)."
    return f"{licence}." if licence else f"{_UNKNOWN} State one here before you publish the folder."


def _use(head: bool, folder: str) -> str:
    start = "```\npip install 'videomamba[hf]'\n```\n\n```python\n"
    if not head:
        return (
            f"{start}from transformers import AutoImageProcessor, AutoModel\n\n"
            f'processor = AutoImageProcessor.from_pretrained("{folder}", trust_remote_code=True)\n'
            f'model = AutoModel.from_pretrained("{folder}", trust_remote_code=True)\n'
            'features = model(**processor("video.mp4")).pooler_output\n```'
        )
    return (
        f"{start}from transformers import pipeline\n\n"
        f'classify = pipeline("video-classification", model="{folder}", trust_remote_code=True)\n'
        'print(classify("video.mp4"))\n```'
    )
