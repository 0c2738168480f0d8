"""The student of self-distillation is the plain network, with vectors of its tokens from the same pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videomamba import create_model, load_weights
from videomamba.models.distilled import DistilledVideoMamba, trunk_weights
from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import WeightsError

FIELDS = {"depth": 2, "dim": 16, "num_frames": 4, "tubelet_size": 2, "image_size": (32, 48), "num_classes": 3}
KEYS = {"distill_head.0.weight": (16,), "distill_head.1.weight": (6, 16), "distill_head.1.bias": (6,)}


def student(seed: int = 0, **fields: object) -> DistilledVideoMamba:
    torch.manual_seed(seed)
    return DistilledVideoMamba(build_config("videomamba_micro", {**FIELDS, **fields}), teacher_dim=6)


def clips(number: int = 2) -> Tensor:
    return torch.randn(number, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("more", [{}, {"pool": "mean"}, {"num_registers": 3}, {"scan_order": "spatiotemporal_v1"}])
def test_its_logits_are_those_of_the_plain_network(more: dict[str, object]) -> None:
    model = student(**more).eval()
    plain = VideoMamba(model.config).eval()
    plain.load_state_dict(trunk_weights(model.state_dict()))
    logits, vectors = model(clips())
    assert torch.equal(logits, plain(clips()))
    expected = model.distill_head(plain.forward_tokens(clips()))
    assert vectors.shape == (2, 1 + 2 * 6, 6) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, expected / expected.norm(dim=-1, keepdim=True))


def test_its_names_and_first_values_are_those_of_the_original() -> None:
    model = student()
    names = {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name.startswith("distill_head.")
    }
    assert names == KEYS
    projection = model.distill_head[1].weight
    assert 0.01 < projection.std() < 0.03 and not model.distill_head[1].bias.any()
    torch.manual_seed(0)
    plain = VideoMamba(model.config).state_dict()
    assert all(torch.equal(plain[name], tensor) for name, tensor in trunk_weights(model.state_dict()).items())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model.init_weights()
    assert (
        projection.abs().max() < 0.2
        and not model.distill_head[1].bias.any()
        and model.distill_head[0].weight.eq(1).all()
    )


def test_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        fields = {"num_frames": 1, "num_classes": 1000}
        counts = {
            name: sum(p.numel() for p in DistilledVideoMamba(build_config(name, fields)).parameters())
            for name in ("videomamba_middle", "videomamba_base")
        }
    assert counts == {"videomamba_middle": 74_439_592, "videomamba_base": 97_894_504}


def test_without_weights_none_is_drawn() -> None:
    before = torch.get_rng_state()
    model = DistilledVideoMamba.without_weights(student().config, teacher_dim=6)
    after_student = torch.get_rng_state()
    DistilledVideoMamba.without_weights(student().config, teacher_dim=6)
    assert torch.equal(torch.get_rng_state(), after_student) and not torch.equal(before, after_student)
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    model.load_state_dict(student(seed=3).state_dict())
    assert torch.equal(model.eval()(clips())[1], student(seed=3).eval()(clips())[1])


def test_no_clips_give_no_rows() -> None:
    logits, vectors = student()(clips(0))
    assert logits.shape == (0, 3) and vectors.shape == (0, 13, 6)


def test_weights_of_a_plain_network_leave_the_projection(tmp_path: Path) -> None:
    source = create_model("videomamba_micro", **FIELDS).state_dict()
    model = student()
    with pytest.raises(WeightsError, match="3 tensors are missing: distill_head"):
        load_weights(model, source)
    before = {name: model.state_dict()[name].clone() for name in KEYS}
    report = load_weights(model, source, allow_missing=["distill_head.*"])
    assert {entry.model_key for entry in report.missing} == set(KEYS)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in {**source, **before}.items())


def test_weights_of_a_student_go_into_a_student_and_into_a_plain_network() -> None:
    source = student(seed=5).state_dict()
    model, plain = student(), create_model("videomamba_micro", **FIELDS)
    assert not load_weights(model, source).missing
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in source.items())
    assert {entry.file_key for entry in load_weights(plain, source).ignored} == set(KEYS)
