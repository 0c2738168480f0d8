"""Constants of parameters are remembered, and a changed weight changes the result at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from videomamba import create_model
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.prepared import Prepared
from videomamba.ops.dispatch import use_backend

VIDEO = torch.randn(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(1))


def a_model(seed: int = 0) -> VideoMamba:
    torch.manual_seed(seed)
    options = {"depth": 2, "dim": 32, "num_frames": 2, "image_size": 32, "num_classes": 5}
    return create_model("videomamba_micro", merge="mean", init="fan_in", **options).eval().prepare_constants()


def a_step(model: VideoMamba) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(VIDEO).square().sum().backward()
    optimizer.step()


def through_data(model: VideoMamba) -> None:
    """What PyTorch does not count; a change of mode makes up for it."""
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    model.eval()


def new_memory(model: VideoMamba) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.5


@torch.inference_mode()
def in_inference_mode(model: VideoMamba) -> None:
    for layer in model.layers:
        layer.mixer.A_b_log.add_(0.5)


def masters(model: VideoMamba) -> None:
    fp32 = MasterWeights(model, torch.bfloat16)
    for parameter in fp32.parameters():
        parameter.data.mul_(1.5)
    fp32.publish()
    model.eval()


def another_parameter(model: VideoMamba) -> None:
    model.layers[1].mixer.D = torch.nn.Parameter(torch.randn(64))


CHANGES: list[Callable[[VideoMamba], object]] = [
    a_step,
    through_data,
    new_memory,
    in_inference_mode,
    masters,
    another_parameter,
    lambda model: model.load_state_dict(a_model(1).state_dict()),
    lambda model: cast_products(model, torch.bfloat16),
    lambda model: model.bfloat16().float(),
]


@pytest.mark.parametrize("backend", ["auto", "chunked"])
def test_a_changed_weight_changes_the_result_at_once(backend: str) -> None:
    for change in CHANGES:
        model = a_model()
        with use_backend(backend):
            with torch.inference_mode():
                before = model(VIDEO).clone()
                assert torch.equal(model(VIDEO), before)
            change(model)
            fresh = copy.deepcopy(model)  # remembers nothing
            with torch.no_grad():
                found = model(VIDEO)
                assert not torch.equal(found, before)
                assert torch.equal(found, fresh(VIDEO))


def test_by_default_nothing_is_kept_so_that_writes_nobody_counts_are_seen() -> None:
    model = copy.deepcopy(a_model())  # a copy is not prepared
    with torch.no_grad():
        before = model(VIDEO)
        for parameter in model.parameters():
            parameter.detach().numpy()[...] *= 1.5
        found = model(VIDEO)
        assert not torch.equal(found, before) and torch.equal(found, copy.deepcopy(model)(VIDEO))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")  # what it is since PyTorch 2.15
def test_a_traced_network_has_its_weights_as_parameters() -> None:
    model = a_model()
    with torch.no_grad(), use_backend("chunked"):
        model(VIDEO)
        traced = torch.jit.trace(model, VIDEO, check_trace=False)
        for layer in model.layers:
            layer.mixer.A_log.add_(0.5)
        assert torch.allclose(traced(VIDEO), model(VIDEO), atol=1e-6)


def test_what_is_remembered_stays_out_of_copies_and_files() -> None:
    model = a_model()
    names = set(model.state_dict())
    size = len(pickle.dumps(model))
    with torch.inference_mode():
        expected = model(VIDEO)
    assert set(model.state_dict()) == names
    assert abs(len(pickle.dumps(model)) - size) < 1000
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model))(VIDEO), expected)
    (gradient,) = torch.autograd.grad(model.requires_grad_(False)(video := VIDEO.clone().requires_grad_()).sum(), video)
    assert gradient.isfinite().all() and gradient.any()  # made in inference mode, used outside


def test_it_is_made_once_and_again_after_a_change() -> None:
    calls: list[int] = []
    weight, prepared = torch.nn.Parameter(torch.ones(3)), Prepared[torch.Tensor]()
    prepared.active = True

    def make() -> torch.Tensor:
        calls.append(1)
        return 2 * weight

    for _ in range(3):
        assert torch.equal(prepared.get((weight,), make), 2 * weight)
    assert len(calls) == 1
    with torch.no_grad():
        weight.add_(1)
    assert torch.equal(prepared.get((weight,), make), 2 * weight) and len(calls) == 2
    with torch.inference_mode():
        uncounted = torch.ones(3)
    for _ in range(2):
        prepared.get((uncounted,), make)
    assert len(calls) == 4
