"""The weights of a server's model: its own file, known pairs, and files as servers keep them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.own_weights import (
    KNOWN_PAIR,
    OWN_FILE,
    find_own_weights,
    from_line,
)
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.artifacts import Artifacts
from storage.errors import BadData, BadSetting
from tests.recommender import tiny_bytes
from tests.recommender.served_facts import BLOB, HERE, PROMPT, TITLES, facts, held
from tests.tiny import open_llama

RECORDED = Path(__file__).parents[3] / "shared" / "ollama-transcripts"


class TestModelfiles:
    @pytest.mark.parametrize(
        ("modelfile", "named"),
        [
            ("FROM /a/b", "/a/b"),
            ("# FROM /a\n#FROM /b\n  # FROM /c\n\nFROM /d\nFROM /e", "/d"),
            ('FROM "/with a space/b"', "/with a space/b"),
            ('FROM """/with a space/b"""', "/with a space/b"),
            ("from   /a/b  \r\nTEMPLATE x", "/a/b"),
            (r"FROM C:\Users\Ann Lee\.ollama\models\blobs\sha256-ab", None),
            ('FROM "', '"'),
            ('FROM """', '"""'),
            ("FROM \nFROM /a", "/a"),
            ("FROMAGE /a\nTEMPLATE FROM /b", ""),
            ("", ""),
        ],
    )
    def test_the_first_from_counts(self, modelfile: str, named: str | None) -> None:
        assert from_line(modelfile) == (modelfile.removeprefix("FROM ") if named is None else named)

    @given(st.text())
    def test_any_text_is_read(self, modelfile: str) -> None:
        assert "\n" not in from_line(modelfile)
        found = find_own_weights(facts("qwen3", modelfile=f"TEMPLATE x\n{modelfile}"), HERE)
        assert found.how == KNOWN_PAIR

    @pytest.mark.parametrize("server", ["0.24.0", "0.32.15"])
    @pytest.mark.parametrize("case", ["show", "show-thinking"])
    def test_what_real_servers_say(self, server: str, case: str) -> None:
        if not RECORDED.is_dir():
            pytest.skip(f"{RECORDED} is not beside the checkout")
        one = json.loads((RECORDED / server / f"{case}.json").read_text())["exchanges"][0]
        modelfile = json.loads(one["response"]["body"])["modelfile"]
        assert re.fullmatch(r"/models/blobs/sha256-[0-9a-f]{64}", from_line(modelfile))
        found = find_own_weights(facts("smollm2:135m", modelfile=modelfile), HERE)
        assert found.spec == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert "which the server holds, is not here (No such file" in found.reason

    def test_an_adapter_is_part_of_the_model(self, tmp_path: Path) -> None:
        blob = tmp_path / BLOB
        blob.write_bytes(b"GGUF")
        with pytest.raises(BadSetting, match=r"'llama3\.1' is a model with an adapter"):
            find_own_weights(facts("llama3.1", modelfile=f"FROM {blob}\nADAPTER /lora\n"), HERE)
        said = f'FROM {blob}\nSYSTEM """\nADAPTER /none\nFROM /none\n"""\n'
        assert find_own_weights(facts(modelfile=said), HERE).spec == str(blob)


class TestTheServersOwnFile:
    @pytest.mark.parametrize("address", [HERE, "http://localhost:11434", "http://[::1]:11434"])
    def test_it_comes_before_a_pair(self, tmp_path: Path, address: str) -> None:
        blob = tmp_path / BLOB
        blob.write_bytes(b"GGUF and the rest")
        found = find_own_weights(facts("llama3.1", modelfile=held(blob)), address)
        assert (found.spec, found.how, found.same_build) == (str(blob), OWN_FILE, True)
        assert found.reason == ""

    def test_on_another_machine_a_path_means_nothing(self, tmp_path: Path) -> None:
        blob = tmp_path / BLOB
        blob.write_bytes(b"GGUF")
        found = find_own_weights(facts("llama3.1", modelfile=held(blob)), "http://box:11434")
        assert found.how == KNOWN_PAIR

    @pytest.mark.parametrize(
        ("made", "reason"),
        [
            (lambda path: None, "is not here (No such file or directory)"),
            (lambda path: path.write_bytes(b"PK\x03\x04"), "is not a GGUF file"),
            (lambda path: path.write_bytes(b"GG"), "is not a GGUF file"),
            (lambda path: path.mkdir(), "is no file"),
            (lambda path: os.mkfifo(path), "is no file"),
        ],
    )
    def test_anything_else_says_what_it_is(
        self, tmp_path: Path, made: Callable[[Path], object], reason: str
    ) -> None:
        made(tmp_path / BLOB)
        with pytest.raises(BadSetting, match=re.escape(reason)):
            find_own_weights(facts(modelfile=held(tmp_path / BLOB)), HERE)

    @pytest.mark.parametrize(
        ("named", "reason"),
        [
            ("llama3.1:8b", "names no file of this machine, but 'llama3.1:8b'"),
            (r"C:\Users\me\.ollama\models\blobs\sha256-ab", "names no file of this machine"),
            ("../../etc/passwd", "names no file of this machine"),
            ("/dev/zero", "is no file"),
            ("/etc/passwd", "is not a GGUF file"),
            ("/a\0b", "is not here (embedded null byte)"),
            ("/" + "a" * 5000, "is not here (File name too long)"),
        ],
    )
    def test_hostile_paths(self, named: str, reason: str) -> None:
        with pytest.raises(BadSetting, match=re.escape(reason)):
            find_own_weights(facts(modelfile=held(named)), HERE)

    def test_a_file_of_ollamas_own_user(self, tmp_path: Path) -> None:
        folder = tmp_path / "not for all"
        folder.mkdir()
        blob = folder / BLOB
        blob.write_bytes(b"GGUF")
        folder.chmod(0)
        with unprivileged(), pytest.raises(BadSetting) as caught:
            find_own_weights(facts(modelfile=held(blob)), HERE)
        said = str(caught.value)
        assert f"{str(blob)!r}, which the server holds, may not be read by this user" in said
        # As root the test falls to a user who may not even come as far as the folder.
        assert re.search(r"; next: sudo chmod a\+x '?/.*, or --weights PATH", said)
        with unprivileged(), pytest.raises(BadData, match="may not be read by this user"):
            EmbeddedBackend.open(blob)
        with unprivileged():
            found = find_own_weights(facts("llama3.1", modelfile=held(blob)), HERE)
        assert found.how == KNOWN_PAIR
        assert "; to use it: sudo chmod a+x" in found.reason
        folder.chmod(0o700)

    def test_a_closed_file_in_an_open_folder(self) -> None:
        blob = Path("/tmp") / f"recsys-closed-{os.getpid()}"
        blob.write_bytes(b"GGUF")
        blob.chmod(0)
        try:
            with unprivileged(), pytest.raises(BadSetting, match=rf"sudo chmod a\+r {blob}, or"):
                find_own_weights(facts(modelfile=held(blob)), HERE)
        finally:
            blob.unlink()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: be nobody for a while, where this is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def write_gguf(
    path: Path, *, split: str = "", begins: bool | None = None, factors: torch.Tensor | None = None
) -> Path:
    """A Llama of one layer as llama.cpp's converter writes one, with a byte tokenizer."""
    torch.manual_seed(3)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = {f"blk.0.{name}.weight": torch.randn(32, 32) * 0.2 for name in square}
    tensors |= {f"blk.0.{name}.weight": torch.rand(32) for name in ("attn_norm", "ffn_norm")}
    tensors |= {"token_embd.weight": torch.randn(259, 32), "output_norm.weight": torch.ones(32)}
    if factors is not None:
        tensors["rope_freqs.weight"] = factors
    return tiny_bytes.write_gguf(
        path, tensors, context=131072, rope=500000.0, split=split, begins=begins
    )


class TestFilesAsServersKeepThem:
    @pytest.mark.parametrize("linked", [True, False], ids=["symlink", "hard link"])
    def test_a_blob_has_no_suffix(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
    ) -> None:
        (tmp_path / "blobs").mkdir()
        blob = write_gguf(tmp_path / "blobs" / BLOB)
        named = tmp_path / "tiny.gguf"
        named.write_bytes(blob.read_bytes())
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        if not linked:
            monkeypatch.setattr(Path, "symlink_to", refuse_links)
        kept = Artifacts(tmp_path / "artifacts")
        plain = open_llama(named).likelihood(PROMPT, TITLES).logprobs
        for artifacts in (None, kept, kept):
            one = EmbeddedBackend.open(blob, artifacts=artifacts, device="cpu", precision="float32")
            assert one.likelihood(PROMPT, TITLES).logprobs == pytest.approx(plain, abs=1e-5)
            assert one.describe().digest == open_llama(named).describe().digest
        assert list(scratch.iterdir()) == []
        assert len(list(kept.keys())) == 1

    @pytest.mark.parametrize(
        ("split", "said", "begins"),
        [
            ("llama-bpe", None, True),  # as llama.cpp does, counted there
            ("llama-bpe", False, False),
            ("llama-bpe", True, True),
            ("qwen2", None, False),
            ("qwen2", True, True),
            ("", None, False),
        ],
    )
    def test_texts_begin_as_in_llama_cpp(
        self, tmp_path: Path, split: str, said: bool | None, begins: bool
    ) -> None:
        file = write_gguf(tmp_path / "tiny.gguf", split=split, begins=said)
        kept = Artifacts(tmp_path / "artifacts")
        for artifacts in (None, kept, kept):
            one = EmbeddedBackend.open(file, artifacts=artifacts, device="cpu", precision="float32")
            assert one.describe().begins_with == ("<|begin|>" if begins else "")

    def test_positions_are_scaled_as_the_file_says(self, tmp_path: Path) -> None:
        # By llama.cpp's `convert_hf_to_gguf.py`: factor 8, low 1, high 4, 8192 positions.
        frequencies = 500000.0 ** -(np.arange(0, 16, 2) / 16)
        lengths = 2 * np.pi / frequencies
        smooth = np.clip((8192 / lengths - 1.0) / (4.0 - 1.0), 0, 1)
        factors = 1 / ((1 - smooth) / 8 + smooth)
        assert factors.min() == 1
        assert factors.max() == 8
        assert ((factors > 1) & (factors < 8)).any()
        file = write_gguf(
            tmp_path / "tiny.gguf", factors=torch.tensor(factors, dtype=torch.float32)
        )
        kept = Artifacts(tmp_path / "artifacts")
        for artifacts in (None, kept, kept):
            one = EmbeddedBackend.open(file, artifacts=artifacts, device="cpu", precision="float32")
            found = one.model.model.rotary_emb.inv_freq
            np.testing.assert_allclose(found, frequencies / factors, rtol=1e-5)

    def test_another_scaling_is_refused(self, tmp_path: Path) -> None:
        factors = torch.linspace(1, 2, 8)
        file = write_gguf(tmp_path / "tiny.gguf", factors=factors)
        with pytest.raises(BadData, match="scales positions in another way than Llama 3"):
            EmbeddedBackend.open(file, device="cpu", precision="float32")

    @pytest.mark.models
    @pytest.mark.slow
    def test_the_real_file_under_a_servers_name(self, models: Path, tmp_path: Path) -> None:
        blob = tmp_path / BLOB
        blob.symlink_to(resolve_model(models, EMBEDDED_TEACHER))
        found = find_own_weights(facts("smollm2:135m", modelfile=held(blob)), HERE)
        assert found.same_build
        one = EmbeddedBackend.open(found.spec, device="cpu", precision="float32")
        named = EmbeddedBackend.open(resolve_model(models, EMBEDDED_TEACHER), device="cpu")
        assert one.describe().digest == named.describe().digest
        assert one.describe().layers == 30


def refuse_links(self: Path, target: Path) -> None:
    raise OSError("a required privilege is not held by the client")
