"""Every entry of the zoo: its facts, and a file in its released format found, opened and loaded by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from videomamba.models.registry import ARCHITECTURES, build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError
from videomamba.weights import zoo
from videomamba.weights.bundle import save_bundle
from videomamba.weights.convert import infer_config
from videomamba.weights.load import load_weights
from videomamba.weights.read import read_weights
from videomamba.weights.released import ACTIONS_MODEL, CAMERA_MODEL, TEXT_MODEL
from videomamba.weights.zoo import (
    FOLDER_VARIABLE,
    architecture_of,
    entry_for_file,
    labels_of,
    preprocess_of,
    resolve_weights,
    zoo_entry,
    zoo_names,
)

Build = Callable[..., VideoMamba]
Released = Callable[[VideoMamba, str], dict[str, object]]

RELEASED = [name for name in zoo_names() if not zoo_entry(name).packaged]


def released_files() -> set[str]:
    """The names under which the files were published, spelled out apart from the tables of the zoo."""
    sizes = ("t16", "s16", "m16")
    files = {f"{s}_in1k_res{r}" for s in sizes for r in ("224", "224to448", "224to448to576")} | {"b16_in1k_res224"}
    files |= {f"{s}_k400_f{f}_res224" for s in sizes for f in (8, 16, 32, 64)}
    files |= {f"{s}_k400_f64_res224to384" for s in sizes}
    files |= {f"{s}_ssv2_{r}" for s in sizes for r in ("f8_res224", "f16_res224", "f16_res224to288")}
    files |= {f"{s}_{d}_f{f}_res224" for s in sizes for d in ("breakfast", "coin") for f in (32, 64)}
    files |= {f"m16_{d}_mask_pt_f8_res224" for d in ("k400", "ssv2")}
    files |= {f"m16_k400_mask_ft_f{f}_res224" for f in (8, 16, 32, 64)} | {"m16_k400_mask_ft_f64_res224to384"}
    files |= {f"m16_ssv2_mask_ft_{r}" for r in ("f8_res224", "f16_res224", "f16_res224to288")}
    files |= {f"m16_{d}_mask_ft_f{f}_res224" for d in ("breakfast", "coin") for f in (32, 64)}
    files |= {f"m16_{pairs}_f8_res224" for pairs in ("5M", "17M", "25M")}
    return {f"videomamba_{name}.pth" for name in files}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


class TestFacts:
    def test_every_released_file_has_one_entry(self) -> None:
        assert sorted(zoo_entry(name).file for name in RELEASED) == sorted(released_files())
        assert len(RELEASED) == 63
        assert zoo_names()[:3] == [CAMERA_MODEL, ACTIONS_MODEL, TEXT_MODEL]

    def test_names(self) -> None:
        expected = {
            "videomamba_tiny_in1k_224": "videomamba_t16_in1k_res224.pth",
            "videomamba_tiny_k400_f8_224": "videomamba_t16_k400_f8_res224.pth",
            "videomamba_middle_k400_mask_ft_f64_384": "videomamba_m16_k400_mask_ft_f64_res224to384.pth",
            "videomamba_middle_ssv2_mask_pt_f8_224": "videomamba_m16_ssv2_mask_pt_f8_res224.pth",
            "videomamba_middle_25m_f8_224": "videomamba_m16_25M_f8_res224.pth",
        }
        assert {name: zoo_entry(name).file for name in expected} == expected

    @pytest.mark.parametrize("name", RELEASED)
    def test_entry_is_consistent(self, name: str) -> None:
        entry = zoo_entry(name)
        assert entry.name == name and entry.architecture in ARCHITECTURES
        assert entry.config["num_frames"] == preprocess_of(entry).num_frames
        assert entry.config["image_size"] == preprocess_of(entry).image_size
        if entry.init is not None:
            source = zoo_entry(entry.init)
            assert source.architecture == entry.architecture and source.name != name
        labels = labels_of(entry)
        assert len(labels) in (0, entry.config["num_classes"])
        assert len(set(labels)) == len(labels) and all(label == label.strip() != "" for label in labels)

    @pytest.mark.parametrize(
        ("name", "top1", "views"),
        [
            ("videomamba_tiny_in1k_576", 79.6, (1, 1)),
            ("videomamba_base_in1k_224", 82.7, (1, 1)),
            ("videomamba_small_k400_f16_224", 80.8, (4, 3)),
            ("videomamba_middle_k400_mask_ft_f64_384", 85.0, (4, 3)),
            ("videomamba_tiny_ssv2_f16_288", 66.2, (2, 3)),
            ("videomamba_middle_ssv2_mask_ft_f16_288", 71.4, (2, 3)),
            ("videomamba_small_breakfast_f64_224", 97.4, (4, 3)),
            ("videomamba_middle_coin_mask_ft_f64_224", 90.4, (10, 3)),
        ],
    )
    def test_reported_accuracy(self, name: str, top1: float, views: tuple[int, int]) -> None:
        entry = zoo_entry(name)
        assert entry.top1 == top1 and (entry.clips, entry.crops) == views

    def test_reported_retrieval(self) -> None:
        assert zoo_entry("videomamba_middle_25m_f8_224").zero_shot["MSRVTT"] == (35.6, 29.1)
        assert zoo_entry("videomamba_middle_5m_f8_224").zero_shot["MSVD"] == (38.0, 57.5)

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("videomamba_tiny_in1k_448", "link"),
            ("videomamba_middle_k400_mask_ft_f16_224", "link"),
            ("videomamba_middle_ssv2_mask_ft_f16_224", "link"),
            ("videomamba_middle_breakfast_mask_ft_f64_224", "32 slots"),
            ("videomamba_tiny_breakfast_f64_224", "started at zero"),
            ("videomamba_tiny_coin_f64_224", "started at zero"),
            ("videomamba_small_breakfast_f32_224", "1357/355"),
            ("videomamba_small_ssv2_f8_224", "4 clips"),
            ("videomamba_middle_coin_mask_ft_f64_224", "tests 4"),
            ("videomamba_middle_ssv2_mask_pt_f8_224", "200 epochs"),
            ("videomamba_middle_k400_mask_pt_f8_224", "never trained"),
            ("videomamba_tiny_k400_f64_384", "small model"),
            ("videomamba_middle_ssv2_mask_ft_f16_288", "flips"),
        ],
    )
    def test_known_faults_are_told(self, name: str, fault: str) -> None:
        assert any(fault in text for text in zoo_entry(name).faults)

    def test_healthy_files_have_none(self) -> None:
        assert zoo_entry("videomamba_small_in1k_224").faults == zoo_entry("videomamba_small_k400_f8_224").faults == ()

    def test_breakfast_f64_mask_is_what_its_tensor_says(self) -> None:
        assert zoo_entry("videomamba_middle_breakfast_mask_ft_f64_224").config["num_frames"] == 32

    def test_no_weights_for_lvu(self) -> None:
        assert not [name for name in zoo_names() if "lvu" in name]


class TestPreprocess:
    def test_videos(self) -> None:
        for entry in (zoo_entry(name) for name in RELEASED):
            if entry.kind == "video":
                preprocess = preprocess_of(entry)
                assert preprocess.sampling == ("tsn" if entry.dataset.startswith("Something") else "uniform"), entry
                assert (preprocess.crop_ratio, preprocess.interpolation, preprocess.antialias) == (1, "bilinear", False)

    def test_videos_with_texts(self) -> None:
        preprocess = preprocess_of(zoo_entry("videomamba_middle_25m_f8_224"))
        assert preprocess == Preprocess(resize="stretch", sampling="segments", interpolation="bicubic", antialias=False)

    def test_images(self) -> None:
        preprocess = preprocess_of(zoo_entry("videomamba_small_in1k_576"))
        assert preprocess == Preprocess(
            num_frames=1, image_size=(576, 576), crop_ratio=0.875, interpolation="bicubic", antialias=True
        )

    def test_the_seconds_of_a_training_clip(self) -> None:
        known = {
            "videomamba_micro_camera": 1.5,
            "videomamba_micro_synthetic": 2.0,
            "videomamba_tiny_k400_f8_224": 10.0,
            "videomamba_middle_k400_mask_pt_f8_224": 10.0,
            "videomamba_small_ssv2_f16_224": 4.0,
            "videomamba_tiny_breakfast_f32_224": None,  # from seconds to minutes
            "videomamba_tiny_in1k_224": None,
        }
        assert {name: preprocess_of(zoo_entry(name)).clip_seconds for name in known} == known


class TestLabels:
    @pytest.mark.parametrize(
        ("name", "index", "label"),
        [
            ("videomamba_tiny_k400_f8_224", 0, "riding a bike"),
            ("videomamba_tiny_ssv2_f8_224", 0, "Approaching something with your camera"),
            ("videomamba_tiny_breakfast_f32_224", 9, "salat"),
            ("videomamba_tiny_in1k_224", 0, "tench"),
            ("videomamba_tiny_in1k_224", 999, "toilet tissue"),
        ],
    )
    def test_names(self, name: str, index: int, label: str) -> None:
        assert labels_of(zoo_entry(name))[index].startswith(label)

    def test_the_two_cranes_can_be_told_apart(self) -> None:
        cranes = [label for label in labels_of(zoo_entry("videomamba_tiny_in1k_224")) if label.startswith("crane")]
        assert len(cranes) == 2 and all(" (n0" in label for label in cranes)

    def test_no_names_for_coin_and_it_says_so(self) -> None:
        entry = zoo_entry("videomamba_tiny_coin_f32_224")
        assert labels_of(entry) == () and any("class names" in note for note in entry.notes)

    def test_kinetics_order_is_told(self) -> None:
        assert any("not the alphabetical" in note for note in zoo_entry("videomamba_tiny_k400_f8_224").notes)


@pytest.mark.parametrize("name", RELEASED)
def test_every_entry_resolves_opens_and_loads(name: str, folder: Path, build: Build, released: Released) -> None:
    """A file of the entry's frames, pixels, classes and format (but narrow and of two blocks) is found by name and loads."""
    entry = zoo_entry(name)
    source = build(seed=1, **entry.config)
    torch.save(released(source, entry.kind), folder / entry.file)

    path = resolve_weights(name)
    assert path == folder / entry.file and entry_for_file(path) is entry
    weights = read_weights(path)
    assert infer_config(weights.tensors) == infer_config(source.state_dict())
    assert weights.entry is entry and weights.labels == labels_of(entry)
    model = VideoMamba(weights.config())
    report = load_weights(model, name, rename_norm=entry.kind in ("masked", "multimodal"))
    expected = source.bfloat16().float() if entry.kind == "multimodal" else source
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key]), key
    assert not report.missing and not report.replaced and not report.unexpected and not report.resized
    path.unlink()


class TestResolve:
    def test_a_path_is_itself(self, tmp_path: Path) -> None:
        (tmp_path / "mine.pth").write_bytes(b"")
        assert resolve_weights(tmp_path / "mine.pth") == tmp_path / "mine.pth"
        assert entry_for_file(tmp_path / "mine.pth") is None

    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none", "none.pth", "weights/none.safetensors"):
            with pytest.raises(WeightsError, match=r"no such file$"):
                resolve_weights(path)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="is a folder"):
            resolve_weights(tmp_path)

    @pytest.mark.parametrize("name", ["~nosuchuser/x.pth", "x" * 300, "x" * 300 + ".pth"])
    def test_a_name_that_the_system_refuses(self, name: str) -> None:
        with pytest.raises(WeightsError, match="cannot be opened") as caught:
            resolve_weights(name)
        assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)

    def test_a_folder_that_may_not_be_entered(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(self: Path, **_: object) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "stat", deny)
        with pytest.raises(WeightsError, match="Permission denied"):
            resolve_weights(folder / "x.pth")

    def test_a_folder_with_the_name_of_an_entry_does_not_hide_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        (folder / "videomamba_tiny_in1k_224").mkdir()
        (folder / "videomamba_t16_in1k_res224.pth").write_bytes(b"")
        assert resolve_weights("videomamba_tiny_in1k_224") == folder / "videomamba_t16_in1k_res224.pth"

    def test_nearest_name(self) -> None:
        with pytest.raises(WeightsError, match=r"did you mean 'videomamba_tiny_k400_f8_224'\?"):
            resolve_weights("videomamba_tiny_k400_f8_225")
        with pytest.raises(WeightsError, match="`videomamba zoo` lists them"):
            zoo_entry("xyz")

    def test_offline_says_what_to_put_where(self, no_network: Path) -> None:
        start = time.perf_counter()
        with pytest.raises(WeightsError) as caught:
            resolve_weights("videomamba_tiny_k400_f8_224")
        assert time.perf_counter() - start < 10
        message = str(caught.value)
        assert "\n" not in message and "://" not in message
        for part in (
            "videomamba_t16_k400_f8_res224.pth",
            "OpenGVLab/VideoMamba on the Hugging Face Hub",
            FOLDER_VARIABLE,
        ):
            assert part in message

    def test_offline_switch_asks_nobody(self, no_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr(zoo, "reachable", lambda url: pytest.fail(f"asked for {url}"))
        with pytest.raises(WeightsError, match="cannot be reached"):
            resolve_weights("videomamba_tiny_k400_f8_224")

    def test_the_hub_s_cache_is_enough(self, no_network: Path) -> None:
        snapshot = no_network / "models--OpenGVLab--VideoMamba" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
        (snapshot / "videomamba_t16_k400_f8_res224.pth").write_bytes(b"cached")
        assert resolve_weights("videomamba_tiny_k400_f8_224").read_bytes() == b"cached"
        with pytest.raises(WeightsError, match="cannot be reached"):
            resolve_weights("videomamba_tiny_k400_f16_224")

    def test_own_folder_comes_before_the_cache(self, no_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.test_the_hub_s_cache_is_enough(no_network)
        own = no_network.parent / "own"
        own.mkdir()
        monkeypatch.setenv(FOLDER_VARIABLE, str(own))
        assert resolve_weights("videomamba_tiny_k400_f8_224").read_bytes() == b"cached"
        (own / "videomamba_t16_k400_f8_res224.pth").write_bytes(b"own")
        assert resolve_weights("videomamba_tiny_k400_f8_224").read_bytes() == b"own"


@pytest.fixture
def hub(serve_hub: Callable[[Mapping[str, bytes]], None]) -> None:
    """A hub on this machine that has one file, the 8-frame tiny Kinetics model."""
    serve_hub({"OpenGVLab/VideoMamba/resolve/main/videomamba_t16_k400_f8_res224.pth": b"fetched"})


class TestHub:
    def test_fetches_once(self, hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
        path = resolve_weights("videomamba_tiny_k400_f8_224")
        assert path.read_bytes() == b"fetched" and path.name == "videomamba_t16_k400_f8_res224.pth"
        monkeypatch.setattr(zoo, "reachable", lambda url: pytest.fail(f"asked for {url}"))
        assert resolve_weights("videomamba_tiny_k400_f8_224") == path

    def test_a_file_that_the_hub_lacks(self, hub: None) -> None:
        with pytest.raises(WeightsError, match="could not be downloaded") as caught:
            resolve_weights("videomamba_tiny_k400_f16_224")
        assert "\n" not in str(caught.value) and "://" not in str(caught.value)


class TestPackaged:
    def test_carries_its_own_metadata(self, build: Build, folder: Path) -> None:
        entry = zoo_entry("videomamba_micro_synthetic")
        preprocess = Preprocess(num_frames=4, image_size=(32, 32))
        save_bundle(folder / entry.file, build(num_classes=2), preprocess, ["left", "right"])
        assert resolve_weights(entry.name) == folder / entry.file
        assert labels_of(entry) == ("left", "right") and preprocess_of(entry) == preprocess

    def test_lies_inside_the_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
        monkeypatch.setattr(zoo, "_ASSETS", tmp_path)
        with pytest.raises(WeightsError, match=r"videomamba_micro_synthetic: .* is absent; reinstall"):
            resolve_weights("videomamba_micro_synthetic")
        (tmp_path / "weights").mkdir()
        shutil.copy(__file__, tmp_path / "weights" / "videomamba_micro_synthetic.safetensors")
        assert resolve_weights("videomamba_micro_synthetic").parent == tmp_path / "weights"


def test_import_is_light() -> None:
    script = (
        "import sys, videomamba.weights.zoo as zoo\n"
        "zoo.zoo_names(); zoo.labels_of(zoo.zoo_entry('videomamba_tiny_k400_f8_224'))\n"
        "print([name for name in ('torch', 'huggingface_hub', 'safetensors', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in zoo_names() if zoo_entry(name).packaged])
def test_a_packaged_entry_states_the_network_of_its_file(name: str) -> None:
    entry, config = zoo_entry(name), read_weights(resolve_weights(name)).config()
    data = {"num_frames": config.num_frames, "image_size": config.image_size, "num_classes": config.num_classes}
    assert build_config(entry.architecture, {**entry.config, **data}) == config
    stated = {
        CAMERA_MODEL: "videomamba_micro with depth 4, pool mean, init fan_in, scan_order temporal_first",
        ACTIONS_MODEL: "videomamba_micro with depth 5, tubelet_size 2, pool mean, init fan_in",
        TEXT_MODEL: "videomamba_micro with depth 5, tubelet_size 2, pool mean, init fan_in",
    }
    assert architecture_of(entry) == stated[name]


def test_released_architectures() -> None:
    assert {architecture_of(zoo_entry(name)) for name in RELEASED} <= set(ARCHITECTURES)
