"""Layers taken out of GGUF files: blocks bit by bit, numbers right, and answers as of a cut."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize

from distill.exporting.truncating import Truncated, open_head, source_of, truncate
from distill.language.cutting import cut
from recommender.config import Settings
from recommender.models import EMBEDDED_TEACHER, register, resolve_model
from storage.errors import BadData, BadSetting, RecsysError
from tests.distill.exporting.llamas import LAYOUTS, logits, open_llama, save, write_file
from tests.ollama.replay import VERSIONS, cases

KEPT = (0, 2, 3)
SENT = (*range(22), 28, 29)
"""The layers of the file that two real servers took, in `upload-create-score`."""


def taken_out(source: Path, target: Path, kept: tuple[int, ...] = KEPT, **more: bool) -> Truncated:
    *_, last = truncate(open_head(source), target, kept, **more)
    assert isinstance(last, Truncated)
    return last


@pytest.fixture(scope="module", params=["f16", "q8_0"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return write_file(save(folder / "a"), folder / "whole.gguf", request.param)


def test_kept_blocks_are_the_same_bytes_under_their_new_numbers(
    whole: Path, tmp_path: Path
) -> None:
    done = taken_out(whole, tmp_path / "cut.gguf")
    before = {t.name: t for t in GGUFReader(whole).tensors}
    after = {t.name: t for t in GGUFReader(tmp_path / "cut.gguf").tensors}
    assert len(after) == len(before) - 9
    for name, tensor in after.items():
        parts = name.split(".")
        if parts[0] == "blk":
            parts[1] = str(KEPT[int(parts[1])])
        old = before[".".join(parts)]
        assert tensor.tensor_type == old.tensor_type
        assert tensor.data.tobytes() == old.data.tobytes(), name
    assert (done.kept, done.layers) == (KEPT, 4)
    assert done.size == (tmp_path / "cut.gguf").stat().st_size
    assert done.parameters == sum(t.n_elements for t in after.values())


def test_every_other_field_is_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    taken_out(whole, tmp_path / "cut.gguf")
    before, after = open_head(whole).fields, open_head(tmp_path / "cut.gguf").fields
    assert list(before) == list(after)
    assert {n for n in before if before[n].raw != after[n].raw} == {"llama.block_count"}
    assert after["llama.block_count"].value == 3


@pytest.mark.parametrize("layout", ["grouped keys", "tied", "scaled positions"])
@pytest.mark.parametrize("kept", [KEPT, (1,), (0, 1, 2, 3)])
def test_it_answers_as_the_same_cut_of_the_opened_model(
    tmp_path: Path, layout: str, kept: tuple[int, ...]
) -> None:
    source = write_file(save(tmp_path / "a", **LAYOUTS[layout]), tmp_path / "a.gguf", "q8_0")
    taken_out(source, tmp_path / "cut.gguf", kept)
    made = open_llama(tmp_path / "cut.gguf")
    opened = open_llama(source)
    opened.model = cut(opened.model, kept).eval()
    assert torch.equal(logits(made), logits(opened))


def test_lists_with_one_entry_a_layer_are_shortened(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_block_count(4)
    for name, numbers in (("head_count", [9, 8, 7, 6]), ("other", [1, 2, 3])):
        kinds = GGUFValueType.ARRAY, GGUFValueType.INT32
        writer.add_key_value(f"llama.attention.{name}", numbers, *kinds)
    writer.add_array("tokenizer.ggml.tokens", list("abcd"))
    rows = np.random.default_rng(0).normal(size=(4, 2, 64)).astype(np.float32)
    kind = GGMLQuantizationType.Q4_0
    for layer in (2, 0, 3, 1):  # in no order
        writer.add_tensor(f"blk.{layer}.attn_q.weight", quantize(rows[layer], kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    taken_out(tmp_path / "a.gguf", tmp_path / "cut.gguf")
    head = open_head(tmp_path / "cut.gguf")
    assert head.said("llama.attention.head_count") == [9, 7, 6]
    assert head.said("llama.attention.other") == [1, 2, 3]
    assert head.said("tokenizer.ggml.tokens") == list("abcd")
    tensors = {t.name: t.data.tobytes() for t in GGUFReader(tmp_path / "cut.gguf").tensors}
    assert list(tensors) == [f"blk.{n}.attn_q.weight" for n in (1, 0, 2)]
    for new, old in enumerate(KEPT):
        assert tensors[f"blk.{new}.attn_q.weight"] == quantize(rows[old], kind).tobytes()


class TestRefusals:
    @pytest.mark.parametrize("kept", [(), (0, 4), (-1,), (2, 1), (1, 1)])
    def test_layers_that_are_not_there(
        self, whole: Path, tmp_path: Path, kept: tuple[int, ...]
    ) -> None:
        with pytest.raises(BadSetting, match="rising numbers of 0 to 3"):
            taken_out(whole, tmp_path / "cut.gguf", kept)
        assert not list(tmp_path.iterdir())

    def test_a_file_that_is_there(self, whole: Path, tmp_path: Path) -> None:
        target = tmp_path / "cut.gguf"
        target.write_text("mine")
        with pytest.raises(BadSetting, match="is there already; next: --force"):
            taken_out(whole, target)
        assert target.read_text() == "mine"
        taken_out(whole, target, force=True)
        assert open_head(target).layers == 3

    def test_a_file_into_itself(self, whole: Path) -> None:
        before = whole.read_bytes()
        with pytest.raises(BadSetting, match="into itself"):
            taken_out(whole, whole, force=True)
        assert whole.read_bytes() == before

    def written(self, path: Path, arch: str = "llama", layers: int = 2, **fields: int) -> Path:
        writer = GGUFWriter(path, arch)
        writer.add_block_count(layers)
        for name, value in fields.items():
            writer.add_uint16(name.replace("__", "."), value)
        for layer in range(2):
            writer.add_tensor(f"blk.{layer}.attn_q.weight", np.zeros((2, 2), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def test_files_whose_layers_are_not_all_of_one_kind(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match="of the gemma3 kind: layers are taken out of llama"):
            open_head(self.written(tmp_path / "a.gguf", "gemma3"))

    def test_one_of_several_parts(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match="one of 3 parts"):
            open_head(self.written(tmp_path / "a.gguf", split__count=3))

    def test_layers_that_it_says_and_does_not_have(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match="it says 3 layers, not all are there"):
            open_head(self.written(tmp_path / "a.gguf", layers=3))

    def test_a_source_that_is_none(self, tmp_path: Path, llama: Path) -> None:
        settings = Settings(data_dir=tmp_path)
        with pytest.raises(BadData, match="is a Hugging Face directory"):
            source_of(str(llama), settings)
        with pytest.raises(RecsysError, match=r"there is no file 'absent\.gguf'"):
            source_of("absent.gguf", settings)
        with pytest.raises(RecsysError, match="nothing here is called 'absent'"):
            source_of("absent", settings)
        with pytest.raises(BadData, match="no language model"):
            source_of("minilm", settings)


def test_a_registered_name_is_a_source(whole: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    register(settings.models, "mine", str(whole))
    assert source_of("mine", settings) == whole
    assert source_of(str(whole), settings) == whole


def test_closing_it_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    job = truncate(open_head(whole), tmp_path / "cut.gguf", KEPT)
    next(job)
    next(job)
    assert len(list(tmp_path.iterdir())) == 1  # under a name of its own
    job.close()
    assert not list(tmp_path.iterdir())


def test_nothing_of_torch_is_loaded(whole: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from distill.exporting.truncating import open_head, truncate
list(truncate(open_head(Path({str(whole)!r})), Path({str(tmp_path / "cut.gguf")!r}), (0, 1)))
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.models
class TestTheEmbeddedModel:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_it_is_the_file_that_real_servers_took(
        self, models: Path, tmp_path: Path, version: str
    ) -> None:
        taken_out(Path(resolve_model(models, EMBEDDED_TEACHER)), tmp_path / "cut.gguf", SENT)
        digest = hashlib.sha256((tmp_path / "cut.gguf").read_bytes()).hexdigest()
        sent = cases(version)["upload-create-score"].exchanges[1]
        assert sent.path == f"/api/blobs/sha256:{digest}"

    @pytest.mark.slow
    def test_it_answers_as_the_same_cut_of_the_opened_model(
        self, models: Path, tmp_path: Path
    ) -> None:
        source = Path(resolve_model(models, EMBEDDED_TEACHER))
        taken_out(source, tmp_path / "cut.gguf", (0, 9, 29))
        opened = open_llama(source)
        opened.model = cut(opened.model, (0, 9, 29)).eval()
        made = open_llama(tmp_path / "cut.gguf")
        assert torch.equal(logits(made), logits(opened))
        assert made.tokenizer("12-Pack").input_ids == opened.tokenizer("12-Pack").input_ids
