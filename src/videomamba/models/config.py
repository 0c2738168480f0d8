"""The numbers that define a VideoMamba. Modules do not see the config: they take flat keyword arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

ScanOrder = Literal["spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2"]
Discretization = Literal["euler", "zoh"]


class VideoMambaConfig(BaseModel):
    """One VideoMamba. Every default is that of the released weights.

    `merge`, `discretization`, `num_registers` and `pool` are options that the released networks do not have; `init` chooses
    how a network without weights starts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_classes: int = Field(default=1000, ge=0, description="0: no head, the model returns its (b, d) features")
    num_frames: int = Field(default=8, ge=1, description="frames in a clip; 1 for images")
    image_size: tuple[int, int] = Field(
        default=(224, 224), description="(height, width) in pixels; one number: a square"
    )
    patch_size: int = Field(default=16, ge=1)
    tubelet_size: int = Field(default=1, ge=1, description="frames in one patch")
    depth: int = Field(default=24, ge=1)
    dim: int = Field(default=192, ge=1, description="D, the width of the residual stream")
    expand: int = Field(default=2, ge=1, description="E = expand * D channels inside the mixer")
    d_state: int = Field(default=16, ge=1, description="N, states per channel")
    d_conv: int = Field(default=4, ge=1, description="K, taps of the causal convolution")
    scan_order: ScanOrder = "spatial_first"
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="rate of the last block; the first never drops")
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    norm_eps: float = 1e-5
    merge: Literal["sum", "mean"] = Field(default="sum", description="how the two directions are joined")
    discretization: Discretization = Field(default="euler", description="'zoh': the paper's formula, 'euler': its code")
    num_registers: int = Field(default=0, ge=0, description="learned tokens spread evenly (arXiv 2405.14858)")
    pool: Literal["cls", "mean"] = Field(default="cls", description="input of the head: class token or mean of patches")
    init: Literal["paper", "fan_in"] = Field(
        default="paper", description="how fresh weights are drawn; 'fan_in' suits networks narrower than the paper's"
    )

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        height, width = self.image_size
        if height < self.patch_size or width < self.patch_size or height % self.patch_size or width % self.patch_size:
            raise ValueError(f"image_size {height}x{width} must be a multiple of patch_size {self.patch_size}")
        if self.num_frames % self.tubelet_size:
            raise ValueError(f"num_frames {self.num_frames} must be a multiple of tubelet_size {self.tubelet_size}")
        return self

    @property
    def inner_dim(self) -> int:
        """E, channels of the scan."""
        return self.expand * self.dim

    @property
    def dt_rank(self) -> int:
        """R = ceil(D / 16), rank of the projection to delta."""
        return math.ceil(self.dim / 16)

    @property
    def temporal_from(self) -> int:
        """The first block that sees temporal-first tokens, as all after it do; `depth` where none does or each sees both."""
        switch = {"temporal_first": 0, "spatiotemporal_v1": self.depth - self.depth // 2}
        return switch.get(self.scan_order, self.depth)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along (time, height, width)."""
        height, width = self.image_size
        return self.num_frames // self.tubelet_size, height // self.patch_size, width // self.patch_size


def make_config(fields: Mapping[str, object]) -> VideoMambaConfig:
    """The config with these fields. Raises ValueError, one line that names the field, where they do not make a config."""
    try:
        return VideoMambaConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")) from None
