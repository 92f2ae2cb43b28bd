"""Models in this process: opened from GGUF, and what cannot be opened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.models import EMBEDDED_TEACHER, resolve_model
from recommender.prompts import likelihood_text
from storage.artifacts import Artifacts
from storage.errors import BadData, BadSetting, Offline, UnknownName
from tests.recommender.tiny_bytes import HISTORY, TITLES, naive, save_tiny, write_gguf


def test_a_gguf_file_is_converted_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(3)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = {f"blk.0.{name}.weight": torch.randn(32, 32) * 0.2 for name in square}
    tensors |= {f"blk.0.{name}.weight": torch.rand(32) for name in ("attn_norm", "ffn_norm")}
    tensors |= {"token_embd.weight": torch.randn(259, 32), "output_norm.weight": torch.ones(32)}
    file = tmp_path / "tiny-model.gguf"
    write_gguf(file, tensors)
    artifacts = Artifacts(tmp_path / "artifacts")

    def opened(kept: Artifacts | None) -> EmbeddedBackend:
        return EmbeddedBackend.open(file, artifacts=kept, device="cpu", precision="float32")

    in_memory, first, second = opened(None), opened(artifacts), opened(artifacts)
    assert capfd.readouterr() == ("", "")
    assert len(list(artifacts.keys())) == 1
    assert first.describe() == second.describe() == in_memory.describe()
    assert first.describe().name == "tiny-model"
    assert first.model.lm_head.weight is first.model.model.embed_tokens.weight
    value = tensors["blk.0.attn_v.weight"]
    torch.testing.assert_close(first.model.model.layers[0].self_attn.v_proj.weight.data, value)
    prompt = Prompt(HISTORY)
    expected = in_memory.likelihood(prompt, TITLES).logprobs
    assert first.likelihood(prompt, TITLES).logprobs == pytest.approx(expected, abs=1e-5)
    prefix, _ = first.prefix_tokens(prompt)
    np.testing.assert_allclose(naive(first, prefix, TITLES), expected, atol=1e-4)


class TestNotThere:
    def test_no_such_name(self) -> None:
        with pytest.raises(UnknownName, match="no model 'nonsense'; next: recsys models list"):
            EmbeddedBackend.open("nonsense")

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match=r"no model '.*absent\.gguf'"):
            EmbeddedBackend.open(tmp_path / "absent.gguf")

    def test_another_file(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(BadData, match=r"notes\.txt' is not a GGUF file"):
            EmbeddedBackend.open(tmp_path / "notes.txt")

    def test_an_empty_directory(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match=r"no config\.json and no GGUF file"):
            EmbeddedBackend.open(tmp_path)

    def test_pickled_weights_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(BadData, match=r"no \*\.safetensors"):
            EmbeddedBackend.open(tmp_path)

    def test_damaged_weights(self, tmp_path: Path) -> None:
        path = save_tiny(tmp_path)
        whole = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BadData, match="cannot be loaded as a language model"):
            EmbeddedBackend.open(path, device="cpu")

    def test_a_damaged_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(20))
        with pytest.raises(BadData, match=r"broken\.gguf' cannot be read as GGUF"):
            EmbeddedBackend.open(tmp_path / "broken.gguf", device="cpu")

    def test_another_architecture(self, tmp_path: Path) -> None:
        path = save_tiny(tmp_path)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_type": "gpt-unheard-of"}))
        with pytest.raises(BadData, match="cannot be loaded"):
            EmbeddedBackend.open(path, device="cpu")

    def test_offline(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(Offline, match=r"'nobody/nothing' is not on this machine.*--teacher"):
            EmbeddedBackend.open("nobody/nothing")

    def test_settings(self, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="no precision 'float8'"):
            EmbeddedBackend.open(tmp_path, precision="float8")
        with pytest.raises(BadSetting, match="no device 'tpu'"):
            EmbeddedBackend.open(tmp_path, device="tpu")


@pytest.mark.models
@pytest.mark.slow
def test_the_real_model_converted_once(models: Path, tmp_path: Path) -> None:
    spec = resolve_model(models, EMBEDDED_TEACHER)
    artifacts = Artifacts(tmp_path)
    backend = EmbeddedBackend.open(spec, artifacts=artifacts, device="cpu", precision="float32")
    assert backend.describe().layers == 30
    prompt = Prompt(HISTORY, noun="movies")
    prefix, _ = backend.prefix_tokens(prompt)
    titles = ["Aliens (1986)", "Toy Story (1995)", "The Silence of the Lambs (1991)"]
    found = backend.likelihood(prompt, titles).logprobs
    np.testing.assert_allclose(found, naive(backend, prefix, titles), atol=1e-4)
    whole = backend.tokenizer(likelihood_text(prompt), add_special_tokens=False)["input_ids"]
    assert prefix == whole
    keys = list(artifacts.keys())
    again = EmbeddedBackend.open(spec, artifacts=artifacts, device="cpu", precision="float32")
    assert again.describe() == backend.describe()
    assert list(artifacts.keys()) == keys
    assert again.likelihood(prompt, titles).logprobs == pytest.approx(found, abs=1e-5)
