"""config.json: the fields of our config, the class names, and what transformers adds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin

from videomamba.export.transformers.code_file import SavedWithCode, place, write_code
from videomamba.models.config import VideoMambaConfig, make_config

_FIELDS = tuple(name for name in VideoMambaConfig.model_fields if name != "num_classes")


class VideoMambaHFConfig(SavedWithCode, BackboneConfigMixin, PreTrainedConfig):
    """The fields of `VideoMambaConfig` by their names, without `num_classes`: transformers calls it `num_labels`.

    `hidden_size` and `num_hidden_layers` are other names of `dim` and `depth`. For a backbone each layer is a stage, "layer1"
    to "layer<depth>"; `out_indices` count them from 0 and `out_features` name them; without both it is the last one.

    Raises ValueError, one line that names the field, for values that make no network.
    """

    model_type = "videomamba"
    attribute_map = {"hidden_size": "dim", "num_hidden_layers": "depth"}  # noqa: RUF012  # a field would be saved

    def __init__(
        self, out_features: list[str] | None = None, out_indices: Sequence[int] | None = None, **others: Any
    ) -> None:
        for derived in ("stage_names", "auto_map", "custom_pipelines"):
            others.pop(derived, None)
        network = make_config({name: others.pop(name) for name in _FIELDS if name in others})
        for name in _FIELDS:
            setattr(self, name, getattr(network, name))
        self.stage_names = [f"layer{i + 1}" for i in range(network.depth)]
        super().__init__(**others)
        if out_features is not None:
            self.out_features = out_features
        else:
            self.out_indices = None if out_indices is None else [i % network.depth for i in out_indices]

    @classmethod
    def of_network(cls, config: VideoMambaConfig, labels: Sequence[str] = (), **others: Any) -> Self:
        """That of a network with this config. `labels` has one name for each class, or is empty for a network without head."""
        fields: dict[str, Any] = {name: getattr(config, name) for name in _FIELDS}
        names: dict[str, Any] = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
        return cls(**fields, **(names if labels else {}), **others)

    @property
    def network(self) -> VideoMambaConfig:
        """The config of the network without its head. Raises ValueError for fields that do not fit together."""
        return make_config({**{name: getattr(self, name) for name in _FIELDS}, "num_classes": 0})

    @property
    def auto_map(self) -> Mapping[str, str]:
        """Which class of the code file each auto class loads, for `trust_remote_code`."""
        return {
            "AutoConfig": place("VideoMambaHFConfig"),
            "AutoModel": place("VideoMambaModel"),
            "AutoModelForVideoClassification": place("VideoMambaForVideoClassification"),
            "AutoBackbone": place("VideoMambaBackbone"),
            "AutoImageProcessor": place("VideoMambaImageProcessor"),
        }

    @property
    def custom_pipelines(self) -> Mapping[str, Any]:
        """The pipeline of the code file. While it is named here, transformers' own, which takes the first frames of a file,
        never runs. A new object each time, because transformers writes classes into it."""
        return {
            "video-classification": {
                "impl": place("VideoMambaPipeline"),
                "pt": ["AutoModelForVideoClassification"],
                "type": "multimodal",
            }
        }

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().to_dict()
        return {**found, "auto_map": dict(self.auto_map), "custom_pipelines": dict(self.custom_pipelines)}

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **others: Any) -> None:
        """Writes config.json and the code file. `save_pretrained` of a model calls this before it uploads anything."""
        write_code(save_directory)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **others)
