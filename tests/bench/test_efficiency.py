"""The efficiency study at tiny sizes: what is compared is what it says, and what the tables make of given curves."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.cli.test_main import run
from videomamba.bench import attention, efficiency, peers
from videomamba.bench.attention import Form, JointTimeSformer, joint_timesformer_cost
from videomamba.bench.candidates import AGAINST, Work, find_candidates
from videomamba.bench.efficiency import Measured, crossing, crossing_lines, growth_lines, too_much
from videomamba.bench.measure import Timing
from videomamba.bench.process import MeasurementError
from videomamba.models.registry import build_config

TINY = ("efficiency", "--model", "videomamba_micro", "--size", 32, "--runs", 1, "--json")


class InThisProcess:
    """In place of a FreshProcess, without its start: what would go there can, and runs. The n-th one takes n megabytes."""

    numbers = count(1)

    def __init__(self, build: Callable[[], Callable[[], object]], **_: object) -> None:
        self.call = pickle.loads(pickle.dumps(build))()
        self.number = next(self.numbers)

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.call = None

    def warm_up(self) -> tuple[float, int | None]:
        self.call()
        return 2.0, self.number * 10**6

    def seconds(self) -> float:
        return self.number / 1000


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "FreshProcess", InThisProcess)
    monkeypatch.setattr(InThisProcess, "numbers", count(1))


def curve(values: dict[int, float], macs: int = 1) -> dict[int, Measured]:
    """Takes `values` seconds and megabytes."""
    return {n: Measured(Timing((value,)), int(value * 1e6), macs * n) for n, value in values.items()}


class TestTimeSformer:
    def test_both_forms_give_the_same(self) -> None:
        torch.manual_seed(0)
        models = {
            form: JointTimeSformer(num_frames=3, image_size=48, attention=form, depth=3).eval()
            for form in ("materialised", "fused")
        }
        models["fused"].load_state_dict(models["materialised"].state_dict())
        video = torch.randn(2, 3, 3, 48, 48)
        with torch.inference_mode():
            materialised, fused = (model(video) for model in models.values())
        assert materialised.shape == (2, 1000) and materialised.std() > 0.01
        torch.testing.assert_close(fused, materialised, rtol=1e-5, atol=1e-5)

    def test_parameters_are_those_of_deit_tiny_and_the_times(self) -> None:
        model = JointTimeSformer(num_frames=8, image_size=224, attention="fused")
        assert sum(parameter.numel() for parameter in model.parameters()) == 5_717_416 + 8 * 192

    def test_every_token_sees_every_other(self) -> None:
        """A pixel of the last frame changes what the class token of a single block says."""
        torch.manual_seed(0)
        model = JointTimeSformer(num_frames=2, image_size=32, attention="materialised", depth=1).eval()
        video = torch.randn(1, 3, 2, 32, 32)
        changed = video.clone()
        changed[0, 0, 1, 31, 31] += 1
        assert not torch.equal(model(video), model(changed))

    @pytest.mark.parametrize("form", ["materialised", "fused"])
    def test_arithmetic_is_what_pytorch_counts(self, form: Form) -> None:
        model = JointTimeSformer(num_frames=3, image_size=32, attention=form, num_classes=7)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
            model(torch.randn(1, 3, 3, 32, 32))
        cost = joint_timesformer_cost(frames=3, size=32, classes=7)
        assert counter.get_total_flops() == 2 * cost.products
        assert cost.macs == cost.products + 5 * 192 * 13 * (12 * 2 + 1)

    def test_fused_attention_is_never_the_other_in_disguise(self) -> None:
        """A mask of its own shape that no fused kernel takes raises instead of building the scores."""
        q = torch.randn(1, 1, 4, 8)
        call = attention.inference(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5))
        with pytest.raises(RuntimeError, match="No available kernel"), pytest.warns(UserWarning):
            call()

    def test_least_bytes_of_64_frames(self) -> None:
        """Twice three heads of 12545 x 12545 scores, and next to them little."""
        cost = joint_timesformer_cost(frames=64, size=224, classes=1000)
        scores = 2 * 3 * 12545**2 * 4
        assert scores < cost.least_bytes(itemsize=4, materialised=True) < 1.05 * scores
        fused = cost.least_bytes(itemsize=4, materialised=False)
        assert fused == 2 * cost.least_bytes(itemsize=2, materialised=False)
        assert 80e6 < fused < 150e6


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_cost_what_pytorch_counts(name: str) -> None:
    pytest.importorskip("transformers")
    peer = peers.PEERS[name]
    with torch.device("meta"):  # nothing of size B is drawn or multiplied
        call = peers.peer_inference(peer, frames=4, size=32, dtype=torch.float32, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = call()
    assert isinstance(logits, torch.Tensor) and logits.shape == (1, 2)
    assert counter.get_total_flops() == 2 * peer.cost(frames=4, size=32).products


class TestCrossing:
    def test_between_two_lengths(self) -> None:
        """l^2 / 10 meets 3 l at 30, wherever it was measured."""
        lengths = (4, 8, 16, 64, 128)
        found = crossing({n: 3 * n for n in lengths}, {n: n**2 / 10 for n in lengths})
        assert found == pytest.approx(30)

    def test_only_what_both_have_counts(self) -> None:
        assert crossing({8: 1, 16: 2, 32: 4}, {8: 2, 16: 3, 64: 1}) == "always"
        assert crossing({8: 1}, {16: 1}) == "not measured"

    def test_words(self) -> None:
        assert crossing({8: 2, 16: 4}, {8: 1, 16: 4}) == "never in the range"
        assert crossing({8: 1, 16: 4, 32: 9}, {8: 2, 16: 5, 32: 8}) == "not at 32, but at 8 16"

    def test_the_last_of_several_counts(self) -> None:
        found = crossing({8: 1, 16: 1, 32: 1, 64: 1}, {8: 2, 16: 0.5, 32: 0.5, 64: 2})
        assert found == pytest.approx(32 * 2**0.5)

    def test_lines_say_where_attention_wins(self) -> None:
        curves = {
            ("fp32", "vm"): curve({8: 1, 16: 2, 32: 4}),
            ("fp32", "attention"): curve({8: 0.5, 16: 2.5, 32: 8}),
            ("bf16", "vm"): curve({8: 1}),
            ("bf16", "attention"): curve({8: 0.5}),
            ("bf16", "elsewhere"): curve({16: 1}),
        }
        fp32, bf16 = (line.cells for line in crossing_lines("vm", curves))
        assert fp32["against"] == "attention" and fp32["measured at"] == "8 16 32"
        assert 8 < fp32["faster from"] < 16 and fp32["other is faster at"] == "8"
        assert fp32["smaller from"] == pytest.approx(fp32["faster from"])
        assert bf16["faster from"] == "never in the range" and bf16["other is smaller at"] == "8"


def test_exponents_of_all_lengths_and_of_the_last() -> None:
    curves = {("fp32", "a"): curve({8: 1, 16: 2, 32: 8}), ("fp32", "once"): curve({8: 1})}
    (line,) = (line.cells for line in growth_lines(curves))
    assert (line["candidate"], line["from"], line["to"]) == ("a", 8, 32)
    assert line["time"] == pytest.approx(1.5) and line["time, last two"] == pytest.approx(2)
    assert line["memory"] == pytest.approx(1.5) and line["memory, last two"] == pytest.approx(2)


class TestTooMuch:
    def work(self, frames: int, gigabytes: float = 1) -> Work:
        return Work(tokens=1, macs=100 * frames**2, least_bytes=int(gigabytes * 1e9), build=lambda: print)

    def test_memory(self) -> None:
        why = too_much(self.work(8, 30), {}, 3, int(12e9), 60)
        assert why == "needs 30.4 GB, 12.0 GB are free"
        assert too_much(self.work(8, 30), {}, 3, None, 60) is None

    def test_time_grows_as_the_arithmetic(self) -> None:
        before = {8: Measured(Timing((1.0,)), 1, 100 * 8**2), 4: Measured(Timing((99.0,)), 1, 100 * 4**2)}
        assert too_much(self.work(16), before, 9, None, 21) is None
        assert too_much(self.work(16), before, 9, None, 19) == "5 runs would take 20 s, --most-seconds is 19"
        assert too_much(self.work(16), before, 1, None, 11) == "3 runs would take 12 s, --most-seconds is 11"


@pytest.mark.usefixtures("two_layers")
class TestCommand:
    def test_every_table(
        self, in_this_process: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plot = tmp_path / "growth.png"
        options = ("--against", "materialised", "fused", "--lengths", 2, 4, "--plot", plot)
        code, out, err = run(capsys, "bench", *TINY, *options)
        records = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (0, "")
        names = ["videomamba_micro", "TimeSformer-Ti materialised", "TimeSformer-Ti fused"]
        assert [r["candidate"] for r in records if r["table"] == efficiency.CANDIDATES] == names
        measured = [r for r in records if "ms" in r]
        assert [(r["dtype"], r["frames"], r["candidate"]) for r in measured] == [
            (dtype, frames, name) for dtype in ("fp32", "bf16") for frames in (2, 4) for name in names
        ]
        # The n-th process takes n ms and n MB, so its ratio to the first of its three is known.
        assert [r["ms"] for r in measured[:4]] == pytest.approx([1, 2, 3, 4])
        assert [r["time x"] for r in measured[3:6]] == pytest.approx([1, 5 / 4, 6 / 4])
        assert [r["memory x"] for r in measured[3:6]] == pytest.approx([1, 5 / 4, 6 / 4])
        assert {r["tokens"] for r in measured} == {2 * 4 + 1, 4 * 4 + 1}
        assert all(r["GMACs"] > 0 and r["runs"] == 1 for r in measured)
        grown = [r for r in records if r["table"] == efficiency.GROWTH]
        crossed = [r for r in records if r["table"] == efficiency.CROSSINGS]
        assert len(grown) == 6 and grown[0]["time"] == pytest.approx(2)
        assert [(r["against"], r["faster from"]) for r in crossed[:2]] == [(name, "always") for name in names[1:]]
        assert plot.read_bytes().startswith(b"\x89PNG")

    def test_peers_where_they_are_and_where_they_are_not(
        self, in_this_process: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = ("--lengths", 3, "--dtype", "fp32")
        monkeypatch.setattr(peers, "available", lambda: False)
        monkeypatch.setattr(efficiency, "available", lambda: False)
        monkeypatch.setattr("videomamba.bench.candidates.available", lambda: False)
        code, out, _ = run(capsys, "bench", *TINY, *options)
        absent = [r for r in map(json.loads, out.splitlines()) if r["table"] == "not measured"]
        assert code == 0 and [r["what"] for r in absent] == ["TimeSformer-B", "ViViT-B", "VideoMAE-B"]
        assert all("videomamba[peers]" in r["why"] for r in absent)
        code, out, err = run(capsys, "bench", *TINY, *options, "--against", "fused", "vivit-b")
        assert code == 1 and err.count("\n") == 1 and "--against vivit-b: transformers is not installed" in err

    def test_what_is_too_large_or_does_not_fit_the_clip_is_said_in_words(
        self, in_this_process: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("transformers")
        monkeypatch.setattr(efficiency, "free_memory", lambda device: int(0.46e9))
        options = ("--lengths", 129, "--dtype", "fp32", "--size", 64, "--against", "materialised", "fused", "vivit-b")
        code, out, _ = run(capsys, "bench", *TINY, *options)
        records = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [r["candidate"] for r in records if "ms" in r] == ["videomamba_micro", "TimeSformer-Ti fused"]
        why = {r["candidate"]: r["why"] for r in records if r["table"] == "fp32, 129 frames: not measured"}
        assert why == {
            "TimeSformer-Ti materialised": "not run: needs 0.5 GB, 0.5 GB are free",
            "ViViT-B": "not run: its patches are 2 frames long",
        }

    def test_a_process_that_fails_leaves_the_others(
        self, in_this_process: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(process: InThisProcess) -> float:
            if process.number > 1:
                raise MeasurementError("out of memory")
            return 0.001

        monkeypatch.setattr(InThisProcess, "seconds", fails)
        options = ("--lengths", 2, "--dtype", "fp32", "--against", "fused")
        code, out, _ = run(capsys, "bench", *TINY, *options)
        records = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and [r["candidate"] for r in records if "ms" in r] == ["videomamba_micro"]
        assert [r["why"] for r in records if "why" in r] == ["not measured: out of memory"]

    @pytest.mark.usefixtures("quick_start")
    def test_in_real_processes(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ("--lengths", 2, "--dtype", "fp32", "--against", "materialised")
        code, out, err = run(capsys, "bench", *TINY, *options)
        measured = [r for r in map(json.loads, out.splitlines()) if "ms" in r]
        assert (code, err) == (0, "") and len(measured) == 2
        assert all(r["ms"] > 0 and r["time x"] > 0 for r in measured)


def test_candidates_have_the_networks_sizes() -> None:
    """The token counts of the paper's 8 frames at 224: patches of a frame for VideoMamba, of two for ViViT and VideoMAE."""
    pytest.importorskip("transformers")
    config = build_config("videomamba_tiny", {})
    found = find_candidates("videomamba_tiny", config, against=AGAINST, device="cpu")
    tokens = {candidate.name: candidate.work(8, torch.float32).tokens for candidate in found}
    assert tokens == {
        "videomamba_tiny": 1569,
        "TimeSformer-Ti materialised": 1569,
        "TimeSformer-Ti fused": 1569,
        "TimeSformer-B": 1569,
        "ViViT-B": 785,
        "VideoMAE-B": 784,
    }
