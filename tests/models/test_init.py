"""How fresh weights are drawn: the start for narrow networks, and that nothing else depends on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from videomamba import create_model
from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess
from videomamba.weights.bundle import check_bundle, read_safetensors, save_bundle

WIDER = ("in_proj.weight", "x_proj.weight", "x_proj_b.weight")
POSITIONS = ("pos_embed", "temporal_pos_embedding", "register_tokens")


def a_model(**fields: object) -> VideoMamba:
    torch.manual_seed(0)
    return create_model("videomamba_micro", depth=2, num_frames=4, num_registers=64, **fields)


def test_fan_in_starts_projections_by_their_fan_in() -> None:
    for name, parameter in a_model(init="fan_in").named_parameters():
        if name.endswith(WIDER):
            bound = parameter.shape[1] ** -0.5
            assert parameter.abs().max() <= bound
            assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.03), name


def test_fan_in_starts_positions_with_a_std_of_a_fifth() -> None:
    model = a_model(init="fan_in")
    for name in POSITIONS:
        assert getattr(model, name).std().item() == pytest.approx(0.2, rel=0.1), name
    image = create_model("videomamba_micro", depth=1, num_frames=1, init="fan_in")
    assert image.pos_embed.std().item() == pytest.approx(0.2, rel=0.1)


def test_the_default_is_the_papers_and_all_else_is_drawn_alike() -> None:
    paper, default, fan_in = a_model(init="paper"), a_model(), a_model(init="fan_in")
    assert default.config.init == "paper"
    for name, parameter in default.named_parameters():
        assert torch.equal(parameter, paper.get_parameter(name))
        wider = name.endswith(WIDER) or name in POSITIONS
        same = fan_in.get_parameter(name).std().item() == pytest.approx(parameter.std().item(), rel=0.25, abs=1e-6)
        assert same != wider, name


def test_a_bundle_without_the_field_is_one_of_the_papers_start(tmp_path: Path) -> None:
    model = create_model("videomamba_micro", depth=1, num_frames=4, init="fan_in")
    preprocess = Preprocess(num_frames=4, image_size=(96, 96))
    path = save_bundle(tmp_path / "new.safetensors", model, preprocess)
    tensors, metadata = read_safetensors(path)
    assert check_bundle(path, tensors, metadata).config == model.config
    fields = model.config.model_dump(exclude={"init"})
    old = tmp_path / "old.safetensors"
    save_file(
        load_file(path),
        old,
        metadata={**metadata, "config": VideoMambaConfig(**fields).model_dump_json(exclude={"init"})},
    )
    tensors, metadata = read_safetensors(old)
    assert '"init"' not in metadata["config"]
    assert check_bundle(old, tensors, metadata).config.init == "paper"


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"videomamba_micro: init: .*'paper' or 'fan_in'"):
        create_model("videomamba_micro", init="zeros")


def test_networks_for_weights_are_made_without_the_compiler_of_pytorch() -> None:
    """On the meta device PyTorch initialises embeddings through it, and its import takes a second."""
    script = (
        "import sys\n"
        "from videomamba.serving.video_text import TextEmbedder\n"
        "TextEmbedder.from_pretrained()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
