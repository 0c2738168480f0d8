"""The test of a network on one split of a data set by a protocol of views, shared by training and evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Self, TypeVar

import torch
from torch import Tensor

from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.settings import DataSettings
from videomamba.evaluation.metrics import classification_report, regression_report
from videomamba.evaluation.results import ClassificationResult, RegressionResult, describe_protocol
from videomamba.evaluation.scoring import Scores, score_records
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, VideoSet, Views
from videomamba.training.distributed import Processes

Result = ClassificationResult | RegressionResult
Item = TypeVar("Item")
Progress = Callable[[int, int], None]


class Test:
    """The videos of one split, on which networks are tested. Close it, or use it in a `with` statement.

    The result has the same bits for any number of processes; every one of them must call.
    """

    __test__ = False  # not a test of pytest's

    def __init__(
        self, video_set: VideoSet, preprocess: Preprocess, views: Views, *, data: DataSettings, processes: Processes
    ) -> None:
        self.video_set, self.views, self.processes = video_set, views, processes
        self.protocol = describe_protocol(preprocess, views, regression=video_set.regression)
        self._loader = EvaluationLoader(
            video_set,
            preprocess=preprocess,
            views=views,
            data=data,
            rank=processes.rank,
            world=processes.world,
            pin_memory=processes.device.type == "cuda",
        )

    def __call__(self, network: Callable[[Tensor], Tensor], *, progress: Progress | None = None) -> Result:
        """`network` maps (n, 3, t, h, w) to (n, classes), or (n, 1) in regression. `progress(done, total)` counts blocks."""
        regression = self.video_set.regression
        mine = score_records(
            network,
            _counted(self._loader, len(self._loader), progress),
            views=self.views,
            outputs=self.video_set.outputs,
            device=self.processes.device,
            regression=regression,
        )
        found = Scores.joined(self.processes.gather(mine))
        report = regression_report if regression else classification_report
        return report(self.video_set, found.records, found.scores, found.failures, protocol=self.protocol)

    def close(self) -> None:
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _counted(items: Iterable[Item], total: int, progress: Progress | None) -> Iterator[Item]:
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, total)


def in_precision(network: VideoMamba, precision: Literal["fp32", "bf16"], device: torch.device) -> VideoMamba:
    """A copy on `device` in the precision of a run."""
    network = copy.deepcopy(network).to(device)
    if precision == "bf16":
        cast_products(network, torch.bfloat16)
    return network


def quality(result: Result) -> float:
    """The figure that chooses the best weights: top-1, or the negative mean squared error."""
    if isinstance(result, ClassificationResult):
        return result.top1
    return -torch.inf if result.mse is None else -result.mse


def numbers(result: Result) -> dict[str, float | None]:
    """What the record of an epoch says of its validation."""
    if isinstance(result, ClassificationResult):
        return {"val_top1": result.top1, "val_top5": result.top5, "val_mean_class_accuracy": result.mean_class_accuracy}
    return {"val_mse": result.mse}
