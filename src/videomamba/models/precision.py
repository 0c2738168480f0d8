"""bf16 where it pays: in the matrix products. Everything that accumulates over the sequence stays in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from videomamba.modules.embed import PatchEmbed
from videomamba.modules.mixer import BiMamba
from videomamba.modules.text import TextLayer, WordTransform


def product_weights(model: nn.Module) -> Iterator[torch.Tensor]:
    """The parameters of the matrix products: patch embedding and the mixers' projections, without the bias of delta.

    In a text tower those of the linear layers, whose bias is part of the product; its embeddings, which also predict words,
    are not among them. Nor are heads and the projections of video and text.
    """
    for module in model.modules():
        if isinstance(module, PatchEmbed):
            yield from module.parameters()
        elif isinstance(module, TextLayer | WordTransform):
            yield from (p for layer in module.modules() if isinstance(layer, nn.Linear) for p in layer.parameters())
        elif isinstance(module, BiMamba):
            yield from (module.in_proj.weight, module.out_proj.weight, module.x_proj.weight, module.x_proj_b.weight)
            yield from (module.dt_proj.weight, module.dt_proj_b.weight)


def cast_products(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts, once and in place, the weights of the matrix products to `dtype`.

    Norms, positions, convolutions, A, D, the bias of delta, the residual stream and the head keep theirs.
    """
    for weight in product_weights(model):
        weight.data = weight.data.to(dtype)
        weight.grad = None


class MasterWeights:
    """Training with products in `dtype`: the model holds them in that dtype, the optimiser steps on fp32 masters.

    Small steps that bf16 would round away add up in the masters, and the weights are cast once a step, not at each call
    as under `torch.autocast`. It takes an fp32 model and casts it:

        masters = MasterWeights(model, torch.bfloat16)
        optimizer = torch.optim.AdamW(masters.parameters())
        loss.backward(); masters.collect_gradients()   # after each backward: gradients of several add up in fp32
        optimizer.step(); masters.publish(); optimizer.zero_grad()

    `masters.named_parameters()` has the model's names, for groups by name. Save `masters.state_dict()`;
    `masters.load_state_dict` restores it bit for bit.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        cast = {id(weight) for weight in product_weights(model) if dtype != torch.float32}
        self._masters = {
            name: nn.Parameter(parameter.detach().to(torch.float32, copy=True), requires_grad=parameter.requires_grad)
            for name, parameter in model.named_parameters()
            if id(parameter) in cast
        }
        cast_products(model, dtype)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, fp32 master or the model's own parameter), in the model's order."""
        for name, parameter in self.model.named_parameters():
            yield name, self._masters.get(name, parameter)

    def parameters(self) -> Iterator[nn.Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Adds the gradients of the cast weights to their masters' and clears them."""
        for name, parameter in self.model.named_parameters():
            if name in self._masters and parameter.grad is not None:
                master = self._masters[name]
                gradient = parameter.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the model."""
        for name, parameter in self.model.named_parameters():
            if name in self._masters:
                parameter.copy_(self._masters[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The model's, with the fp32 masters instead of the cast weights."""
        masters = {name: master.detach() for name, master in self._masters.items()}
        return {**self.model.state_dict(), **masters}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Fills masters and model in place, so that an optimiser made before keeps its parameters.

        Raises RuntimeError, with nothing changed, when names or shapes of `state` are not this model's.
        """
        expected = {name: tensor.shape for name, tensor in self.state_dict().items()}
        given = {name: tensor.shape for name, tensor in state.items()}
        wrong = [name for name in expected | given if expected.get(name) != given.get(name)]
        if wrong:
            raise RuntimeError(f"{len(wrong)} tensors are absent, surplus or of another shape, the first {wrong[0]}")
        self.model.load_state_dict(state)
        for name, master in self._masters.items():
            master.copy_(state[name])
