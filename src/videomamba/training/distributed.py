"""The processes of a run: one, or as many as torchrun started. The one file that imports Lightning Fabric.

A single process is plain PyTorch and needs no Fabric. With several, Fabric starts the process group, picks the device, and
wraps the network in PyTorch's DDP or FSDP2. `torch.distributed` itself does two things: it gathers Python objects, because
Fabric gathers tensors only; and with products in bf16 it sums the gradients once a step in fp32. DDP would sum them in bf16,
before the fp32 master weights have collected those of all micro-batches.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from videomamba.device import find_device
from videomamba.schema import VideoMambaError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Item = TypeVar("Item")
_BUCKET = 2**24  # numbers in one sum over the processes


class Processes:
    """This process and the others: `rank` of `world`, its `device`; the `main` process writes and prints.

    All runs and tests in a process share one process group.

    Raises VideoMambaError for an unavailable device, fsdp in a single process, and several processes without Fabric.
    """

    def __init__(self, *, device: str = "auto", strategy: Literal["auto", "ddp", "fsdp"] = "auto") -> None:
        self.rank, self.world = 0, int(os.environ.get("WORLD_SIZE", "1"))
        self.sharded = strategy == "fsdp"
        self._fabric: Fabric | None = None
        self._wrapped: Any = None  # the network as Fabric returned it, of a private class
        if self.world == 1 and self.sharded:
            raise VideoMambaError("run.strategy: fsdp shards the weights over processes; start several with torchrun")
        try:
            if self.world == 1:
                self.device = find_device(device)
            else:
                self._fabric = _launched(device, self.world, sharded=self.sharded)
                self.rank, self.device = self._fabric.global_rank, self._fabric.device
        except (RuntimeError, ValueError, TypeError, AssertionError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise VideoMambaError(f"device {device}: cannot be used here ({reason}); try cpu") from error

    @property
    def main(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module, *, sums_itself: bool) -> nn.Module:
        """`model` on the device, ready for these processes. With `sums_itself` the caller calls `average_gradients`."""
        if self._fabric is None:
            return model.to(self.device)
        if sums_itself and not self.sharded:
            model.to(self.device)
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)
            return model
        wrapped: nn.Module = self._fabric.setup_module(model)
        self._wrapped = wrapped
        return wrapped

    def backward(self, loss: Tensor) -> None:
        if self._fabric is None:
            torch.autograd.backward(loss)
        else:
            self._fabric.backward(loss)

    def accumulating(self, module: nn.Module, enabled: bool) -> contextlib.AbstractContextManager[None]:
        """While `enabled`, a later backward pass sums the gradients over the processes."""
        if self._fabric is None or module is not self._wrapped:
            return contextlib.nullcontext()
        return self._fabric.no_backward_sync(module, enabled)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages every gradient over the processes, in its own dtype, in buckets."""
        if self.world == 1:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(grad.numel() for grad in bucket) >= _BUCKET:
                self._average(bucket)
                bucket = []
        self._average(bucket)

    def _average(self, bucket: Sequence[Tensor]) -> None:
        if not bucket:
            return
        flat = torch.cat([grad.flatten() for grad in bucket])
        dist.all_reduce(flat)
        flat /= self.world
        for grad, part in zip(bucket, torch.split(flat, [grad.numel() for grad in bucket]), strict=True):
            grad.copy_(part.view_as(grad))

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sum over all processes of each value, in double precision."""
        if self.world == 1:
            return list(values)
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, item: Item) -> list[Item]:
        """The items of all processes by rank, on every process."""
        if self.world == 1:
            return [item]
        items: list[Item | None] = [None] * self.world
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]


def _launched(device: str, world: int, *, sharded: bool) -> Fabric:
    """Fabric with its process group. `device` names a kind of device: each process gets one of its own."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    except ImportError as error:
        raise VideoMambaError("several processes need Lightning Fabric; pip install 'videomamba[train]'") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    plan: DDPStrategy | ModelParallelStrategy = DDPStrategy()
    if sharded:
        plan = ModelParallelStrategy(_shard, data_parallel_size=world, tensor_parallel_size=1)
    accelerator = device.partition(":")[0]
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator={"cuda": "gpu"}.get(accelerator, accelerator),
        devices=local,
        num_nodes=max(1, world // local),
        strategy=plan,
    )
    fabric.launch()
    return fabric


def _shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """FSDP2: every block is a group of its own, all other parameters are the root's."""
    data = mesh["data_parallel"]
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=data)
    fully_shard(model, mesh=data)
    return model


def unsharded(tensor: Tensor) -> Tensor:
    """A tensor that is sharded over the processes, in one piece; every process must call. Others are unchanged."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, tensor: Tensor) -> Tensor:
    """`value`, equal on every process, with the layout of `tensor`: device, dtype, shards."""
    value = value.to(device=tensor.device, dtype=tensor.dtype)
    if isinstance(tensor, DTensor):
        return distribute_tensor(value, tensor.device_mesh, tensor.placements)
    return value
