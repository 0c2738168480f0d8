"""The processes of a run: one, or as many as torchrun started. The one file that imports Lightning Fabric.

A single process is plain PyTorch and needs no Fabric. With several, Fabric starts the process group, picks the device, and
wraps the network in PyTorch's DDP or FSDP2. Two things go straight to `torch.distributed`: Python objects are gathered by
it, because Fabric gathers tensors only; and with products in bf16 the gradients are summed by it, once a step and in fp32,
because DDP would sum them in bf16 and between the backward passes of an accumulated step, before the fp32 master weights
have collected them.
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

from videomamba.schema import VideoMambaError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Item = TypeVar("Item")
_BUCKET = 2**24  # numbers that are summed over the processes in one go


class Processes:
    """This process and the others. `rank` of `world`, its `device`; `main` is the one that writes and prints.

    The process group is made once and lasts as long as the process: all runs and tests in it share one.

    Raises VideoMambaError for a device that is not there, for a strategy of several processes in a single one, and for
    several processes without Lightning Fabric.
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
                self.device = _usable(device)
            else:
                self._fabric = _launched(device, self.world, sharded=self.sharded)
                self.rank, self.device = self._fabric.global_rank, self._fabric.device
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise VideoMambaError(f"device {device}: cannot be used here ({reason}); try cpu") from error

    @property
    def main(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module, *, sums_itself: bool) -> nn.Module:
        """`model` on the device, ready for this many processes. `sums_itself`: the caller will call `average_gradients`."""
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
        """Inside, a backward pass leaves gradients to be summed over the processes by a later one."""
        if self._fabric is None or module is not self._wrapped:
            return contextlib.nullcontext()
        return self._fabric.no_backward_sync(module, enabled)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """The mean over the processes of every gradient, in buckets, in the dtype that they have."""
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
        start = 0
        for grad in bucket:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sum over all processes of each value, in double precision."""
        if self.world == 1:
            return list(values)
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, item: Item) -> list[Item]:
        """What every process gives, by rank, on every process."""
        if self.world == 1:
            return [item]
        items: list[Item | None] = [None] * self.world
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]


def _usable(name: str) -> torch.device:
    """The device called `name`, after trying it; auto: the best there is."""
    device = torch.device(name) if name != "auto" else torch.accelerator.current_accelerator(check_available=True)
    tried = torch.zeros(1, device=device or torch.device("cpu"))
    tried.item()  # a device such as "meta" makes tensors that hold nothing
    if tried.is_cuda:
        torch.cuda.set_device(tried.device)
    return tried.device


def _launched(device: str, world: int, *, sharded: bool) -> Fabric:
    """Fabric with its process group. `device` names a kind of device: each process gets one of its own."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    except ImportError as error:
        raise VideoMambaError(
            "training or evaluation by several processes needs Lightning Fabric; pip install 'videomamba[train]'"
        ) from error
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
    """FSDP2: every block its own group, what is left the root's."""
    data = mesh["data_parallel"]
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=data)
    fully_shard(model, mesh=data)
    return model


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is sharded over the processes as one; every process must call. Any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, tensor: Tensor) -> Tensor:
    """`value`, whole and the same on every process, laid out as `tensor` is: device, dtype, shards."""
    value = value.to(device=tensor.device, dtype=tensor.dtype)
    if isinstance(tensor, DTensor):
        return distribute_tensor(value, tensor.device_mesh, tensor.placements)
    return value
