"""The vision tower of a CLIP as a frozen teacher. Only `bench/peers.py` and `export/transformers` use transformers too.

Shapes: b clips, T frames, p patches of a frame, n = 1 + p tokens of a picture, k layers, d width, c width of the projection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from torch import Tensor, nn

from videomamba.models.teacher import FrozenTeacher, Precision, Renormalise, TeacherOutput
from videomamba.schema import Preprocess, VideoMambaError, WeightsError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that OpenAI's networks were trained on."""
_LAYERS = "vision_model.encoder.layers."


class ClipVision(BaseModel):
    """The fields of transformers' `CLIPVisionConfig` that shape the tower, with its names and defaults; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hidden_size: int = Field(default=768, gt=0)
    intermediate_size: int = Field(default=3072, gt=0)
    projection_dim: int = Field(default=512, gt=0)
    num_hidden_layers: int = Field(default=12, gt=0)
    num_attention_heads: int = Field(default=12, gt=0)
    num_channels: int = Field(default=3, ge=3, le=3)
    image_size: int = Field(default=224, gt=0)
    patch_size: int = Field(default=32, gt=0)
    hidden_act: str = "quick_gelu"
    layer_norm_eps: FiniteFloat = Field(default=1e-5, gt=0)

    @model_validator(mode="after")
    def _has_patches(self) -> Self:
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is less than patch_size {self.patch_size}")
        return self


class ClipTeacher(FrozenTeacher):
    """A CLIP vision tower; each frame is a picture of its own.

    `tensors` have the names of `CLIPVisionModelWithProjection`, `mean` and `std` are those of its pictures. Frames of another
    size than the tower's are resized (bicubic, align_corners False), so that the grid is the tower's.

    The tokens of a layer are its hidden states under the tower's last norm and the projection; the class token is the mean of
    those of the frames. `attention` is the row of the class token in the last layer, over the patches, mean over the heads.

    `legacy` is what the original did, for its checkpoints to continue: the student's pixels as they are, with the statistics
    of ImageNet, and no last norm.

    With `precision` "bf16" the products of the layers are in bf16; norms, the residual stream and the projection are fp32.
    """

    network: Any  # transformers has no types

    def __init__(
        self,
        config: ClipVision,
        tensors: Mapping[str, Tensor],
        clip: Preprocess,
        *,
        name: str,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        legacy: bool = False,
        precision: Precision = "fp32",
        notes: Iterable[str] = (),
    ) -> None:
        """Raises WeightsError, naming the first tensor, unless `tensors` are those of the tower; VideoMambaError without
        transformers."""
        side = config.image_size // config.patch_size
        grid = (clip.num_frames, side, side)
        tower = _tower(config, tensors, name)
        super().__init__(
            tower,
            name=name,
            dim=config.projection_dim,
            depth=config.num_hidden_layers,
            grid=grid,
            precision=precision,
            renormalise=Renormalise(clip, clip.mean if legacy else mean, clip.std if legacy else std),
            notes=notes,
        )
        self.config, self.legacy = config, legacy
        self._size, self._heads = config.image_size, config.num_attention_heads
        if precision == "bf16":
            for module in (self.network.vision_model.embeddings.patch_embedding, *self._layers().modules()):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(torch.bfloat16)

    def _settings(self) -> dict[str, object]:
        return {"config": self.config.model_dump_json(), "legacy": self.legacy}

    def _read(self, video: Tensor, layers: list[int], attention: bool) -> TeacherOutput:
        steps, rows, columns = self.grid
        if video.ndim != 5 or video.shape[1:3] != (3, steps):
            raise ValueError(f"video must be (b, 3, {steps}, h, w), got {tuple(video.shape)}")
        batch, patches = video.shape[0], rows * columns
        if batch == 0:
            tokens = video.new_zeros(len(layers), 0, 1 + steps * patches, self.dim, dtype=torch.float32)
            return TeacherOutput(tokens, tokens.new_zeros(0, steps, patches) if attention else None)
        frames = rearrange(self._renormalise(video), "b c t h w -> (b t) c h w").float()
        if frames.shape[-2:] != (self._size, self._size):
            frames = F.interpolate(frames, size=(self._size, self._size), mode="bicubic", align_corners=False)
        last: Any = self._layers()[-1]
        watched = [self._layers()[i] for i in layers] + (
            [last.self_attn.q_proj, last.self_attn.k_proj] if attention else []
        )
        low = self.precision == "bf16"
        with _outputs(watched) as seen, torch.autocast(video.device.type, torch.bfloat16, enabled=low):
            self.network.vision_model(pixel_values=frames)
        found = torch.stack([self._project(hidden, batch) for hidden in seen[: len(layers)]])
        row = self._class_row(*seen[len(layers) :]).reshape(batch, steps, patches) if attention else None
        return TeacherOutput(found, row)

    def _layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.network.vision_model.encoder.layers
        return layers

    def _project(self, hidden: Tensor, batch: int) -> Tensor:
        """Hidden states (b T, n, d) -> (b, 1 + T p, c)."""
        if not self.legacy:
            hidden = self.network.vision_model.post_layernorm(hidden)
        tokens = self.network.visual_projection(hidden.float()).unflatten(0, (batch, self.grid[0]))  # (b, T, n, c)
        return torch.cat((tokens[:, :, 0].mean(dim=1, keepdim=True), tokens[:, :, 1:].flatten(1, 2)), dim=1)

    def _class_row(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Queries and keys (b T, n, d) -> softmax of the class token's products, mean over the heads, (b T, p).

        It is computed beside the layer, whose fused attention does not give it.
        """
        query, key = (rearrange(x.float(), "b n (h d) -> b h n d", h=self._heads) for x in (queries[:, :1], keys))
        weights: Tensor = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(
            dim=-1
        )  # (b T, heads, 1, n)
        return weights[:, :, 0, 1:].mean(dim=1)


@contextmanager
def _outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the context a call of the network that has these modules fills the list with their outputs, in their order."""
    found: list[Tensor] = [torch.empty(0)] * len(modules)

    def keep(index: int) -> Any:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            found[index] = output[0] if isinstance(output, tuple) else output

        return hook

    with ExitStack() as hooks:
        for index, module in enumerate(modules):
            hooks.enter_context(module.register_forward_hook(keep(index)))
        yield found


def _tower(config: ClipVision, tensors: Mapping[str, Tensor], name: str) -> nn.Module:
    """transformers' `CLIPVisionModelWithProjection` with these tensors, in float32. Draws nothing."""
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ModuleNotFoundError as error:
        if error.name == "transformers":
            reason = "needs transformers: pip install 'videomamba[text]'"
        else:
            reason = f"transformers cannot be imported ({str(error).splitlines()[0]})"
        raise VideoMambaError(f"teacher {name}: {reason}") from None
    present = len({key.removeprefix(_LAYERS).split(".")[0] for key in tensors if key.startswith(_LAYERS)})
    if present < config.num_hidden_layers:  # before layers are built, of which a typing error may be millions
        raise WeightsError(
            f"{name}: has {present} layers, num_hidden_layers is {config.num_hidden_layers}; the file is incomplete, or "
            "does not fit its config"
        )
    try:
        with torch.device("meta"):
            tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**config.model_dump()))
    except Exception as error:  # of many kinds: transformers checks its configs itself
        raise WeightsError(f"{name}: no CLIP has this config.json ({str(error).splitlines()[0]})") from None
    expected = {key: tuple(value.shape) for key, value in tower.state_dict().items()}
    for key in [*expected, *tensors]:
        shape = tuple(tensors[key].shape) if key in tensors else None
        if shape != expected.get(key):
            found = "is absent" if shape is None else f"has shape {shape}"
            wanted = expected.get(key, "none, in a CLIP vision tower of this size")
            raise WeightsError(
                f"{name}: {key} {found}, expected {wanted}; the file is incomplete, or does not fit its config"
            )
    tower.load_state_dict({key: value.float().contiguous() for key, value in tensors.items()}, assign=True)
    embeddings = tower.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1]).unsqueeze(0)  # no part of a state dict
    network: nn.Module = tower
    return network
