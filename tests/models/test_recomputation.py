"""Activations that are computed again: the same results, gradients and draws, with less kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videomamba import create_model
from videomamba.models.precision import MasterWeights
from videomamba.models.videomamba import VideoMamba
from videomamba.ops.dispatch import use_backend


def a_model(**fields: object) -> VideoMamba:
    torch.manual_seed(0)
    settings = {"depth": 4, "num_classes": 5, "num_frames": 4, "image_size": 32, "drop_path": 0.5, **fields}
    return create_model("videomamba_micro", **settings)


def a_pass(model: VideoMamba, first_blocks: int, num_frames: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """(logits, gradients) of one training pass with drop path drawn from seed 1, and the generator's state after it."""
    model.recompute_activations(first_blocks)
    model.zero_grad()
    torch.manual_seed(1)
    video = torch.randn(3, 3, 4, 32, 32)
    logits = model(video, num_frames)
    logits.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return logits.detach(), {**gradients, "generator": torch.get_rng_state()}


@pytest.mark.parametrize("first_blocks", [1, 4])
@pytest.mark.parametrize("order", ["spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2"])
def test_results_gradients_and_draws_are_the_same(order: str, first_blocks: int) -> None:
    model = a_model(scan_order=order)
    for num_frames in (None, torch.tensor([4, 2, 3])):
        logits, expected = a_pass(model, 0, num_frames)
        found_logits, found = a_pass(model, first_blocks, num_frames)
        assert torch.equal(found_logits, logits)
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


def test_bf16_products_on_masters() -> None:
    model = a_model()
    MasterWeights(model, torch.bfloat16)
    logits, expected = a_pass(model, 0)
    found_logits, found = a_pass(model, 3)
    assert torch.equal(found_logits, logits)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_blocks_run_again_on_the_backend_that_was_forced(backend: str) -> None:
    model = a_model(drop_path=0.0)
    model.recompute_activations(4)
    video = torch.randn(1, 3, 4, 32, 32)
    with use_backend(backend):
        loss = model(video).square().sum()
    loss.backward()  # outside: what was saved would not fit what another backend saves
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.recompute_activations(0)
    with use_backend(backend):
        model(video).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_less_is_kept_for_the_backward_pass() -> None:
    model = a_model(drop_path=0.0)
    video = torch.randn(1, 3, 4, 32, 32)

    def kept(first_blocks: int) -> int:
        model.recompute_activations(first_blocks)
        found: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(video)
        return sum(found.values())

    weights = sum(p.nbytes for p in model.parameters())
    none, half, all_ = kept(0), kept(2), kept(4)
    assert half < 0.7 * none
    assert all_ < weights < none


def test_nothing_is_computed_again_in_evaluation_or_without_gradients() -> None:
    model = a_model(drop_path=0.0)
    calls: list[int] = []
    model.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    model.recompute_activations(4)
    video = torch.randn(1, 3, 4, 32, 32)
    model(video).sum().backward()
    assert len(calls) == 2
    model.eval()
    model(video).sum().backward()
    assert len(calls) == 3
    with torch.no_grad():
        model.train()(video)
    assert len(calls) == 4


@pytest.mark.parametrize("first_blocks", [-1, 5])
def test_more_blocks_than_there_are_is_refused(first_blocks: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and the depth 4, got {first_blocks}"):
        a_model().recompute_activations(first_blocks)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # from PyTorch's own compiler
def test_it_compiles_in_one_graph() -> None:
    model = a_model(depth=2, drop_path=0.0)
    _, expected = a_pass(model, 0)
    model.compile(fullgraph=True, backend="aot_eager")
    _, found = a_pass(model, 1)
    for name in dict(model.named_parameters()):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
