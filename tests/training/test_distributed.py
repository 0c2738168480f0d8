"""The processes of a run, where there is one. What several do is shown by whole runs in tests/recipes/test_processes.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import videomamba
from videomamba.schema import VideoMambaError
from videomamba.training.distributed import Processes, like, unsharded


def test_one_process_is_alone() -> None:
    processes = Processes(device="cpu")
    assert (processes.rank, processes.world, processes.main) == (0, 1, True)
    assert processes.device == torch.device("cpu") and not processes.sharded
    assert processes.sum([1.5, 2]) == [1.5, 2] and processes.gather({"a": 1}) == [{"a": 1}]
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 3.0])
    processes.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("sums_itself", [True, False])
def test_a_wrapped_network_is_the_network(sums_itself: bool) -> None:
    processes, model = Processes(device="cpu"), nn.Linear(2, 1)
    wrapped = processes.wrap(model, sums_itself=sums_itself)
    inputs = torch.randn(3, 2)
    assert torch.equal(wrapped(inputs), model(inputs))
    with processes.accumulating(wrapped, True):
        processes.backward(wrapped(inputs).sum())
    processes.backward(wrapped(inputs).sum())
    assert model.weight.grad is not None and torch.allclose(model.weight.grad, 2 * inputs.sum(dim=0)[None])


@pytest.mark.parametrize("device", ["cpuu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(VideoMambaError) as caught:
        Processes(device=device)
    text = str(caught.value)
    assert text.startswith(f"device {device}: cannot be used here (") and "\n" not in text


def test_sharding_needs_several_processes() -> None:
    with pytest.raises(VideoMambaError) as caught:
        Processes(device="cpu", strategy="fsdp")
    assert str(caught.value).startswith("run.strategy: fsdp shards the weights over processes; start several")


def test_several_processes_name_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert Processes(device="cpu").world == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(VideoMambaError, match=r"need Lightning Fabric; pip install 'videomamba\[train\]'"):
        Processes(device="cpu")


def test_what_one_file_imports_no_other_does() -> None:
    """import-linter sees packages, not `torch.utils.tensorboard`; and a private class is no import of its own."""
    source = {path.name: path.read_text() for path in Path(videomamba.__file__).parent.rglob("*.py")}
    assert [name for name, text in source.items() if "torch.utils.tensorboard" in text] == ["tensorboard.py"]
    assert not re.search(r"lightning_fabric\S* import .*\b_|_Fabric", source["distributed.py"])


def test_layout() -> None:
    tensor = torch.arange(3.0)
    assert unsharded(tensor) is tensor
    laid_out = like(tensor.double(), torch.zeros(3, dtype=torch.bfloat16))
    assert laid_out.dtype == torch.bfloat16 and laid_out.tolist() == [0, 1, 2]
