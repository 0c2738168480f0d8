"""Our own file comes back as it was saved, replaces the old one or leaves it, and says which key is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.bundle import (
    FORMAT,
    BundleMetadata,
    check_bundle,
    read_bundle_metadata,
    read_safetensors,
    save_bundle,
)
from videomamba.weights.read import WeightsFile, read_weights

Build = Callable[..., VideoMamba]
LABELS = ("cut", "pour", "stir — ✓", "mix", "eat")
PREPROCESS = Preprocess(num_frames=4, image_size=(32, 48), sampling="tsn", crop_ratio=0.9, antialias=False)
SQUARE = Preprocess(num_frames=4, image_size=(32, 32))
INFO = {"command": "videomamba train x", "top1": 71.5, "licence": "Apache-2.0", "seeds": [1, 2]}
CHANGED = {
    "scan_order": "spatiotemporal_v1",
    "merge": "mean",
    "discretization": "zoh",
    "num_registers": 2,
    "pool": "mean",
    "drop_path": 0.1,
    "image_size": (32, 48),
}


def load_bundle(path: Path) -> tuple[dict[str, Tensor], BundleMetadata]:
    tensors, metadata = read_safetensors(path)
    return tensors, check_bundle(path, tensors, metadata)


@pytest.fixture
def bundle(build: Build, tmp_path: Path) -> Path:
    return save_bundle(tmp_path / "model.safetensors", build(**CHANGED), PREPROCESS, LABELS, INFO)


def test_everything_comes_back(build: Build, bundle: Path) -> None:
    model = build(**CHANGED)
    tensors, metadata = load_bundle(bundle)
    assert metadata.config == model.config and metadata.preprocess == PREPROCESS
    assert metadata.labels == LABELS and metadata.info == INFO
    assert metadata == read_bundle_metadata(bundle)
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtype_is_kept(build: Build, tmp_path: Path, dtype: torch.dtype) -> None:
    tensors, _ = load_bundle(save_bundle(tmp_path / "x.safetensors", build().to(dtype), SQUARE))
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}


def test_names_of_classes_may_be_unknown_but_not_of_another_number(build: Build, tmp_path: Path) -> None:
    path = save_bundle(tmp_path / "x.safetensors", build(), SQUARE)
    assert read_bundle_metadata(path).labels == () and read_bundle_metadata(path).info == {}
    with pytest.raises(VideoMambaError, match="4 class names for a model with 5 classes"):
        save_bundle(path, build(), SQUARE, LABELS[:4])


def test_info_must_be_json(build: Build, tmp_path: Path) -> None:
    for info in ({"model": object()}, {"loss": float("nan")}):
        with pytest.raises(ValueError, match="info must be JSON"):
            save_bundle(tmp_path / "x.safetensors", build(), SQUARE, info=info)
    assert not list(tmp_path.iterdir())


def test_clips_that_do_not_fit_the_model_are_a_programming_error(build: Build, tmp_path: Path) -> None:
    for wrong in ({"num_frames": 8}, {"image_size": (32, 48)}):
        with pytest.raises(ValueError, match="do not fit the model"):
            save_bundle(tmp_path / "x.safetensors", build(), SQUARE.model_copy(update=wrong))
    assert not list(tmp_path.iterdir())


def test_others_may_read_it_as_the_umask_says(bundle: Path) -> None:
    plain = bundle.with_name("plain")
    plain.touch()
    assert bundle.stat().st_mode == plain.stat().st_mode


def test_shapes_that_make_no_config_are_one_line(build: Build) -> None:
    tensors = build().state_dict()
    tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"][..., :0, :0]
    with pytest.raises(WeightsError, match=r"^odd\.pth: patch_size: .*greater than or equal to 1"):
        WeightsFile("odd.pth", tensors).config()


def test_another_suffix_is_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"end its name in \.safetensors"):
        save_bundle(tmp_path / "x.pth", build(), SQUARE)


class TestAtomic:
    def test_nothing_else_is_left_behind(self, bundle: Path) -> None:
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_full_disk_is_one_line_and_leaves_the_old_file(self, bundle: Path) -> None:
        """A limit on the size of files stands for the full disk: the write fails half way, for real."""
        pytest.importorskip("resource")
        before = bundle.read_bytes()
        script = f"""
import resource
from pathlib import Path
from videomamba.weights.bundle import save_bundle
from videomamba.weights.read import save_original
from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError
model, path = VideoMamba(VideoMambaConfig(dim=32, depth=2)), Path({str(bundle)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (lambda: save_bundle(path, model, Preprocess()), lambda: save_original(model, path)):
    try:
        write()
    except WeightsError as error:
        print(error)
"""
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        lines = result.stdout.splitlines()
        assert len(lines) == 2, result.stdout + result.stderr
        for line in lines:
            assert line.startswith(f"{bundle}: cannot be written (") and "free space" in line
        assert bundle.read_bytes() == before
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_a_folder_that_is_not_there(self, build: Build, tmp_path: Path) -> None:
        with pytest.raises(
            WeightsError, match=r"cannot be written \(No such file or directory\); free space or choose"
        ):
            save_bundle(tmp_path / "none" / "x.safetensors", build(), SQUARE)


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, Tensor]], object]) -> None:
    """Saves the bundle at `path` again with its metadata or tensors changed."""
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


def edited(key: str, **changes: object) -> Callable[[dict[str, str], dict[str, Tensor]], object]:
    return lambda metadata, _: metadata.update({key: json.dumps({**json.loads(metadata[key]), **changes})})


class TestMalformed:
    def test_a_number_that_json_does_not_have(self, bundle: Path) -> None:
        rewrite(bundle, lambda metadata, _: metadata.update(info='{"loss": NaN}'))
        with pytest.raises(WeightsError, match=r"model.safetensors: metadata 'info' is not JSON \(NaN is no number"):
            read_bundle_metadata(bundle)

    @pytest.mark.parametrize("key", ["config", "preprocess", "labels", "info"])
    def test_a_key_that_is_no_json_or_absent(self, bundle: Path, key: str) -> None:
        """What the outputs mean is open; only the network and its input must be known."""
        rewrite(bundle, lambda metadata, _: metadata.update({key: "{"}))
        with pytest.raises(WeightsError, match=f"model.safetensors: metadata '{key}' is not JSON"):
            read_bundle_metadata(bundle)
        rewrite(bundle, lambda metadata, _: metadata.pop(key))
        if key in ("labels", "info"):
            assert not getattr(read_bundle_metadata(bundle), key)
            return
        with pytest.raises(WeightsError, match=f"model.safetensors: metadata '{key}' is absent"):
            read_bundle_metadata(bundle)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m, _: m.pop("format"), "metadata 'format' is absent, this version reads 'videomamba-1'"),
            (lambda m, _: m.update(format="videomamba-2"), "metadata 'format' is 'videomamba-2'.*upgrade"),
            (lambda m, _: m.update(labels='{"a": 1}'), "metadata 'labels' must be a list of class names"),
            (lambda m, _: m.update(labels='["a", 1]'), "metadata 'labels' must be a list of class names"),
            (lambda m, _: m.update(labels='["a", "b"]'), "metadata 'labels' has 2 names for 5 classes"),
            (lambda m, _: m.update(info="[]"), "metadata 'info' must be an object"),
            (edited("config", dept=3), "metadata 'config.dept': Extra inputs are not permitted"),
            (edited("config", dim="wide"), "metadata 'config.dim': Input should be a valid integer"),
            (edited("config", image_size=[30, 30]), "metadata 'config': .*multiple of patch_size"),
            (edited("preprocess", sampling="some"), "metadata 'preprocess.sampling'"),
        ],
    )
    def test_says_which_key(
        self, bundle: Path, change: Callable[[dict[str, str], dict[str, Tensor]], object], message: str
    ) -> None:
        rewrite(bundle, change)
        for read in (read_bundle_metadata, load_bundle):
            with pytest.raises(WeightsError, match=message) as caught:
                read(bundle)
            assert str(caught.value).startswith(f"{bundle}: ") and "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (edited("config", depth=3), "'config' says depth = 3, the tensors say 2"),
            (edited("config", num_frames=8), "'config' says num_frames = 8, the tensors say 4"),
            (edited("config", image_size=[32, 32]), "6 patches, not the grid 2x2"),
            (
                lambda m, _: m.update(config=m["config"].replace('"num_classes":5', '"num_classes":0'), labels="[]"),
                "num_cl",
            ),
            (lambda _, t: t.pop("pos_embed"), "no pos_embed"),
        ],
    )
    def test_config_and_tensors_must_agree(
        self, bundle: Path, change: Callable[[dict[str, str], dict[str, Tensor]], object], message: str
    ) -> None:
        rewrite(bundle, change)
        with pytest.raises(WeightsError, match=message):
            load_bundle(bundle)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(b"nothing")

        def deny(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", deny)
        with pytest.raises(WeightsError, match=r"permission denied$"):
            read_weights(path)

    def test_no_bundle_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"none\.safetensors: no such file"):
            read_bundle_metadata(tmp_path / "none.safetensors")
        (tmp_path / "x.safetensors").write_bytes(b"nothing")
        with pytest.raises(WeightsError, match=r"x\.safetensors: not a readable weights file"):
            read_bundle_metadata(tmp_path / "x.safetensors")


def test_metadata_are_what_the_format_says(bundle: Path, build: Build) -> None:
    """Other programs may rely on these five strings; without names there are four, or an empty list in older files."""
    import safetensors

    with safetensors.safe_open(bundle, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"format", "config", "preprocess", "labels", "info"}
    assert metadata["format"] == FORMAT == "videomamba-1"
    assert VideoMambaConfig.model_validate(json.loads(metadata["config"])) == build(**CHANGED).config
    assert json.loads(metadata["labels"]) == list(LABELS)
    save_bundle(bundle, build(), SQUARE)
    with safetensors.safe_open(bundle, framework="numpy") as file:
        assert file.metadata().keys() == {"format", "config", "preprocess", "info"}
    rewrite(bundle, lambda metadata, _: metadata.update(labels="[]"))
    assert read_bundle_metadata(bundle).labels == ()
