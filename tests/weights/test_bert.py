"""A BERT as transformers saves it starts a text tower, which then gives transformers' own features."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videomamba.data.text.tokenizer import SPECIAL
from videomamba.models.text import TextConfig, TextTower
from videomamba.schema import VideoMambaError, WeightsError
from videomamba.weights.bert import bert_config, load_bert, read_vocabulary

transformers = pytest.importorskip("transformers")

WORDS = (*SPECIAL, *(f"word{i}" for i in range(25)))
NARROW = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}
CONFIG = TextConfig(
    vocab_size=len(WORDS), dim=32, depth=4, heads=4, hidden_dim=48, fusion_from=3, max_positions=20, dropout=0.1
)
CROSS = 10
"""Tensors of the cross-attention of a layer."""
ENDING = "give a BERT of the tower's size, or fit text in the config"


def save_bert(folder: Path, kind: str = "BertForMaskedLM") -> Path:
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**NARROW))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("berts") / "bert")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy, to change."""
    return Path(shutil.copytree(saved, tmp_path / "bert"))


def tower(*, words: bool = True, **fields: object) -> TextTower:
    torch.manual_seed(1)
    return TextTower(CONFIG.model_copy(update=fields), memory_dim=16, words=words).eval()


def assert_like_transformers(found: TextTower, folder: Path) -> None:
    """The states after the layers below `fusion_from`, with padding."""
    ids = torch.randint(5, len(WORDS), (2, 7), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states[3]
        states = found.encode(ids, mask.bool())
    torch.testing.assert_close(states[mask.bool()], expected[mask.bool()], rtol=1e-5, atol=1e-5)


class TestForms:
    @pytest.mark.parametrize("words", [True, False])
    @pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
    def test_every_key_is_accounted_for(self, tmp_path: Path, kind: str, words: bool) -> None:
        folder = save_bert(tmp_path / "bert", kind)
        found = tower(words=words)
        before = {key: value.clone() for key, value in found.state_dict().items()}
        report = load_bert(found, folder)
        after, theirs = found.state_dict(), load_file(folder / "model.safetensors")
        assert sorted(report.model_keys) == sorted(after) and sorted(report.file_keys) == sorted(theirs)
        for entry in report.loaded:
            assert torch.equal(after[entry.model_key or ""], theirs[entry.file_key or ""])
        for entry in report.missing:
            assert torch.equal(after[entry.model_key or ""], before[entry.model_key or ""])
        headless = kind == "BertModel" and words
        assert len(report.missing) == CROSS + (5 if headless else 0)
        assert ("has no head that predicts masked words" in report.assumed) is headless
        assert all(entry.note for entry in report.ignored)
        assert_like_transformers(found, folder)

    def test_the_first_names_of_its_norms(self, folder: Path, saved: Path) -> None:
        """Those of bert-base-uncased itself, in a pickle, in half precision, with the buffer and the tied head."""
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        old = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for key, value in tensors.items()
        }
        old["bert.embeddings.position_ids"] = torch.arange(20)[None]
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]
        torch.save(old, folder / "pytorch_model.bin")
        report = load_bert(found := tower(), folder)
        assert {entry.file_key for entry in report.ignored} == {
            "bert.embeddings.position_ids",
            "cls.predictions.decoder.weight",
        }
        assert_like_transformers(found, saved)
        torch.save({key: value.half() for key, value in old.items()}, folder / "pytorch_model.bin")
        load_bert(found, folder)
        assert found.state_dict()["bert.embeddings.word_embeddings.weight"].dtype == torch.float32

    def test_its_config(self, folder: Path) -> None:
        assert bert_config(folder) == CONFIG
        assert bert_config(folder, fusion_from=2, dropout=0.0) == CONFIG.model_copy(
            update={"fusion_from": 2, "dropout": 0.0}
        )
        with pytest.raises(WeightsError, match="bert: fusion_from 5 must be at most the depth 4"):
            bert_config(folder, fusion_from=5)


def change_config(**fields: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config = {key: value for key, value in {**config, **fields}.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def change_tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


class RunsCode:
    """An object whose pickle prints a word when it is opened without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo executed",)


class TestDamaged:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: (f / "config.json").unlink(), "has no config.json; give a BertModel or BertForMaskedLM"),
            (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
            (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
            (lambda f: (f / "model.safetensors").write_bytes(b"x"), "not a readable weights file"),
            (change_config(model_type="roberta"), "is a model of type 'roberta', not a BERT"),
            (change_config(hidden_act="relu"), "has hidden_act 'relu', a text tower 'gelu'"),
            (change_config(type_vocab_size=1), "has type_vocab_size 1, a text tower 2"),
            (change_config(num_hidden_layers=None), "config.json: has no num_hidden_layers; download it again"),
            (change_config(num_attention_heads=2), "has heads 2, the text tower 4; set text.heads"),
            (change_config(layer_norm_eps=1e-5), "has norm_eps 1e-05, the text tower 1e-12"),
            (
                change_tensors(lambda t: t.pop("bert.encoder.layer.1.output.dense.bias")),
                f"encoder.layer.1.output.dense.bias is absent; {ENDING}",
            ),
            (change_tensors(lambda t: t.pop("cls.predictions.bias")), "cls.predictions.bias is absent"),
            (
                change_tensors(lambda t: t.update({"bert.encoder.layer.4.output.dense.bias": torch.ones(32)})),
                f"bert.encoder.layer.4.output.dense.bias has no place in the tower; {ENDING}",
            ),
            (
                change_tensors(lambda t: t.update({"bert.embeddings.LayerNorm.bias": torch.ones(31)})),
                r"LayerNorm.bias is \(31,\) float32, the tower's \(32,\) float32",
            ),
        ],
    )
    def test_is_one_line(self, folder: Path, change: Callable[[Path], object], message: str) -> None:
        change(folder)
        found = tower()
        before = {key: value.clone() for key, value in found.state_dict().items()}
        with pytest.raises(WeightsError, match=message) as caught:
            load_bert(found, folder)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(folder))
        assert all(torch.equal(value, before[key]) for key, value in found.state_dict().items())

    def test_another_size(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match=r"word_embeddings.weight is \(30, 32\) float32, the tower's \(31, 32\)"):
            load_bert(tower(vocab_size=31), folder)
        with pytest.raises(
            WeightsError, match=r"position_embeddings.weight is \(20, 32\) float32, the tower's \(9, 32"
        ):
            load_bert(tower(max_positions=9), folder)

    def test_runs_no_code(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({"x": RunsCode()}, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match=r"holds (posix|nt)\.system, which could run code"):
            load_bert(tower(), folder)
        assert capfd.readouterr() == ("", "")

    def test_one_file(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match=r"model.safetensors: is one file of a BERT; give its folder"):
            load_bert(tower(), folder / "model.safetensors")


class TestHub:
    def test_from_the_cache_and_from_the_hub(
        self, saved: Path, serve_hub: Callable[[Mapping[str, bytes]], None]
    ) -> None:
        for name in ("config.json", "model.safetensors", "vocab.txt"):
            serve_hub({f"some/bert/resolve/main/{name}": (saved / name).read_bytes()})
        load_bert(found := tower(), "some/bert")
        assert_like_transformers(found, saved)
        assert read_vocabulary("some/bert").vocabulary == WORDS
        with pytest.raises(WeightsError, match="none/bert: no such file or folder, and no such model on the"):
            load_bert(found, "none/bert")

    def test_out_of_reach(self, no_network: Path) -> None:
        with pytest.raises(
            WeightsError, match=r"cannot be reached; download config.json, vocab.txt and the weights of"
        ):
            load_bert(tower(), "bert-base-uncased")
        with pytest.raises(WeightsError, match=r"words.txt: no such file; give a vocab.txt, its folder"):
            read_vocabulary("words.txt")

    def test_a_vocabulary(self, folder: Path) -> None:
        assert read_vocabulary(folder).vocabulary == read_vocabulary(folder / "vocab.txt").vocabulary == WORDS
        (folder / "vocab.txt").write_text("[PAD]\n")
        with pytest.raises(VideoMambaError, match=r"has no \[UNK\]"):
            read_vocabulary(folder)
