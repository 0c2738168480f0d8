"""Models of transformers that hold a VideoMamba and call its parts.

Shapes: b batch, t frames, h, w picture, T = t / tubelet, p = patches of a frame, d width. `pixel_values` is (b, t, 3, h, w),
as in the other video models of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling, ImageClassifierOutput

from videomamba.export.transformers.code_file import SavedWithCode
from videomamba.export.transformers.configuration import VideoMambaHFConfig
from videomamba.models.init import init_linear
from videomamba.models.videomamba import VideoMamba


class VideoMambaPreTrainedModel(SavedWithCode, PreTrainedModel):
    """What the models have in common: config, loading and saving, recomputation of activations."""

    config_class = VideoMambaHFConfig
    base_model_prefix = "videomamba"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012  # transformers reads it as a list
    network: VideoMamba

    def _init_weights(self, module: nn.Module) -> None:
        """transformers calls it for each module of which the weights lack a parameter or have it in another shape.

        A network draws its own parameters when it is made, so this is never a fresh one.
        """
        raise ValueError(
            f"the weights lack parameters of a {type(module).__name__}, or have them in another shape; for other num_frames "
            "or image_size convert the first weights again: `videomamba convert WEIGHTS FOLDER --to hf --frames T --size S`"
        )

    def _set_gradient_checkpointing(
        self,
        enable: bool = True,
        gradient_checkpointing_func: Callable[..., Any] | None = None,
        every_n_layers: int = 1,
    ) -> None:
        """The hook of `activation_checkpointing_enable`: our own recomputation, in all layers, not transformers' function."""
        if enable and every_n_layers != 1:
            raise ValueError(
                f"every_n_layers must be 1, got {every_n_layers}: activations are recomputed in all layers"
            )
        network = self.base_model.network
        network.recompute_activations(len(network.layers) if enable else 0)

    def get_input_embeddings(self) -> nn.Module:
        patch_embed: nn.Module = self.base_model.network.patch_embed
        return patch_embed


class VideoMambaModel(VideoMambaPreTrainedModel):
    """The network without its head."""

    def __init__(self, config: VideoMambaHFConfig) -> None:
        super().__init__(config)
        self.network = _new_network(config)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None
    ) -> Any:
        """(b, t, 3, h, w), normalised by the processor -> last_hidden_state (b, 1 + T p, d), all tokens after the final norm,
        and pooler_output (b, d), the input of a head.

        hidden_states, where requested, are depth + 1 tensors (b, l, d): the residual stream before the first layer and after
        each one, in the order of `VideoMamba.embed`. Raises ValueError for clips that do not fit the network.
        """
        stream, hidden = self.encode(pixel_values, output_hidden_states)
        output = BaseModelOutputWithPooling(
            last_hidden_state=self.network.final_tokens(stream),
            pooler_output=self.network.pool(stream),
            hidden_states=hidden,
        )
        return _in_form(output, self.config, return_dict)

    def encode(
        self, pixel_values: Tensor, output_hidden_states: bool | None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """(b, t, 3, h, w) -> the residual stream (b, l, d) after the last layer, and the hidden states where requested."""
        tokens = self.network.embed(_as_video(pixel_values))
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if not wanted:
            return self.network.encode(tokens), None
        stream, tapped = self.network.encode(tokens, taps=range(len(self.network.layers)))
        return stream, (tokens, *tapped)


class VideoMambaForVideoClassification(VideoMambaPreTrainedModel):
    """The network with a head of `config.num_labels` outputs: classes, or with `problem_type="regression"` numbers."""

    def __init__(self, config: VideoMambaHFConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.videomamba = VideoMambaModel(config)
        self.classifier = nn.Linear(config.dim, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """The start of a new head: weight of std 0.02, bias 0."""
        if isinstance(module, nn.Linear):  # of modules outside the network there is no other
            init_linear(module)
        else:
            super()._init_weights(module)

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """(b, t, 3, h, w), normalised by the processor -> logits (b, num_labels), and with `labels` (b,) the loss.

        The loss is that of transformers for `config.problem_type`: cross-entropy for int64 labels. hidden_states are those of
        `VideoMambaModel`. Raises ValueError for clips that do not fit the network.
        """
        stream, hidden = self.videomamba.encode(pixel_values, output_hidden_states)
        network = self.videomamba.network
        features = network.head_drop(network.pool(stream))
        logits = self.classifier(features.to(self.classifier.weight.dtype)).float()
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return _in_form(ImageClassifierOutput(loss=loss, logits=logits, hidden_states=hidden), self.config, return_dict)


class VideoMambaBackbone(BackboneMixin, VideoMambaPreTrainedModel):
    """Feature maps for heads of your own, from the layers that `config.out_indices` or `config.out_features` name."""

    has_attentions = False

    def __init__(self, config: VideoMambaHFConfig) -> None:
        super().__init__(config)
        self.num_features = [config.dim] * config.depth
        self.network = _new_network(config)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None
    ) -> Any:
        """(b, t, 3, h, w), normalised by the processor -> feature_maps, each (b, d, T, h / patch, w / patch).

        The final norm is applied to each: the map of the last layer has the patch tokens of `VideoMambaModel`. Raises
        ValueError for clips that do not fit the network, and for `output_hidden_states`: name the layers in `out_indices`.
        """
        if output_hidden_states:
            raise ValueError("a backbone has no hidden_states; name the layers in out_indices")
        layers = [self.stage_names.index(name) for name in self.out_features]
        maps = self.network.forward_intermediates(_as_video(pixel_values), layers, norm=True)
        return _in_form(
            BackboneOutput(feature_maps=tuple(m.permute(0, 4, 1, 2, 3) for m in maps)), self.config, return_dict
        )


def _new_network(config: VideoMambaHFConfig) -> VideoMamba:
    """A network without a head, whose parameters are drawn unless it is made on the meta device, as `from_pretrained` does."""
    network = VideoMamba(config.network)
    if not network.cls_token.is_meta:
        for module in network.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # so that transformers does not ask for them
    return network


def _as_video(pixel_values: Tensor) -> Tensor:
    """(b, t, 3, h, w) -> (b, 3, t, h, w)."""
    if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
        raise ValueError(
            f"pixel_values must be (b, t, 3, h, w), as VideoMambaImageProcessor makes them, got {tuple(pixel_values.shape)}"
        )
    return pixel_values.transpose(1, 2)


def _in_form(output: Any, config: VideoMambaHFConfig, return_dict: bool | None) -> Any:
    """`output`, or the tuple of its values where the call or the config says so."""
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()
