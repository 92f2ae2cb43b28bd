"""What a GGUF file says of its tokenizer: copied from the right file, or built by a known name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from distill.exporting.gguf_head import read_head
from distill.exporting.vocabulary import _LLAMA3, built, copied, split_name
from recommender.datasets.sample_shoppers import sample_items
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.errors import BadData
from tests.distill.exporting.llamas import open_llama, save, write_file

WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)
SPLIT = pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WAYS = {
    "gpt-2": [WORDS],
    "smollm": [DIGITS, WORDS],
    "llama-bpe": [SPLIT, BYTES],
}


def trained(steps: Sequence[Any], *, bos: bool = False, ignores: bool = False) -> Any:
    """A tokenizer trained on the sample's titles, which splits text by these steps."""
    inner = Tokenizer(models.BPE(ignore_merges=ignores))
    inner.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>", "<|begin|>"],
        show_progress=False,
    )
    inner.train_from_iterator((f" {row.title}\n" for row in sample_items()), trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", bos_token="<|begin|>"
    )


def directory(path: Path, words: Any, **changes: Any) -> Path:
    save(path, **{"vocab_size": len(words), **changes})
    words.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("bos", [False, True])
def test_a_built_one_splits_text_as_its_directory_does(
    tmp_path: Path, name: str, bos: bool
) -> None:
    words = trained(WAYS[name], bos=bos, ignores=name == "llama-bpe")
    place = directory(tmp_path / "a", words)
    file = write_file(place, tmp_path / "a.gguf")
    head = read_head(file)
    assert head.said("tokenizer.ggml.pre") == name
    assert head.said("tokenizer.ggml.add_bos_token") is bos
    assert head.said("tokenizer.ggml.bos_token_id") == 1
    assert head.said("tokenizer.ggml.eos_token_id") == 0
    read = open_llama(file).tokenizer
    for text in ("Pens, 12-Pack 2026", "it's  two\n\nlines", "l'été 日本", "a<|end|>b"):
        assert read(text)["input_ids"] == words(text)["input_ids"], text


def test_tokens_types_merges_and_the_chat_template(tmp_path: Path) -> None:
    words = trained(WAYS["gpt-2"])
    words.add_tokens(["gel pen"])
    words.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    place = directory(tmp_path / "a", words, vocab_size=len(words) + 3)
    found = built(place, AutoTokenizer.from_pretrained(place), len(words) + 3)
    tokens, kinds = found.said("ggml.tokens"), found.said("ggml.token_type")
    assert len(tokens) == len(kinds) == len(words) + 3
    assert tokens[:2] == ["<|end|>", "<|begin|>"]
    assert kinds[:2] == [3, 3]
    assert (tokens[-4], kinds[-4]) == ("gel pen", 4)
    assert (tokens[-3:], kinds[-3:]) == ([f"[PAD{len(words) + n}]" for n in range(3)], [5] * 3)
    assert set(kinds[2:-4]) == {1}
    described = json.loads((place / "tokenizer.json").read_text())
    assert found.said("ggml.merges") == [" ".join(pair) for pair in described["model"]["merges"]]
    assert found.said("chat_template") == words.chat_template
    assert found.source == "built from the directory's own, split as 'gpt-2'"


class TestWhatCannotBeNamed:
    def refused(self, **changes: object) -> None:
        known = json.loads(trained(WAYS["gpt-2"]).backend_tokenizer.to_str())
        assert split_name(known) == "gpt-2"
        with pytest.raises(BadData, match="a guess would be wrong in silence; next: --teacher"):
            split_name({**known, **changes})

    def test_another_way_of_splitting(self) -> None:
        self.refused(pre_tokenizer={"type": "Whitespace"})
        self.refused(pre_tokenizer=None)
        self.refused(
            pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
        )
        digits = {"type": "Digits", "individual_digits": False}
        words = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
        self.refused(pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, words]})

    def test_another_kind_of_tokenizer(self) -> None:
        self.refused(normalizer={"type": "NFC"})
        self.refused(model={"type": "WordPiece", "vocab": {}})
        self.refused(model={"type": "BPE", "byte_fallback": True})
        self.refused(model={"type": "BPE", "ignore_merges": True})

    def test_tokens_around_a_text_that_no_field_says(self, tmp_path: Path) -> None:
        words = trained(WAYS["gpt-2"])
        words.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> <|begin|> $A", special_tokens=[("<|begin|>", 1)]
        )
        place = directory(tmp_path / "a", words)
        with pytest.raises(BadData, match="puts tokens around a text that no field"):
            built(place, AutoTokenizer.from_pretrained(place), len(words))

    def test_a_directory_without_one(self, tmp_path: Path, llama: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(llama)
        with pytest.raises(BadData, match=r"no readable tokenizer\.json"):
            built(tmp_path, tokenizer, len(tokenizer))
        with pytest.raises(BadData, match="has 600 tokens, and the model 500"):
            built(llama, tokenizer, 500)


class TestCopied:
    def test_the_fields_are_the_same_bytes(self, tmp_path: Path) -> None:
        words = trained(WAYS["smollm"], bos=True)
        place = directory(tmp_path / "a", words)
        head = read_head(write_file(place, tmp_path / "teacher.gguf"))
        found = copied(head, AutoTokenizer.from_pretrained(place), len(words))
        raw = {one.name: one.raw for one in found.fields}
        assert raw == {n: f.raw for n, f in head.fields.items() if n.startswith("tokenizer.")}
        assert found.source == "copied from teacher.gguf"

    def test_a_file_with_other_tokens(self, tmp_path: Path) -> None:
        words, other = trained(WAYS["gpt-2"]), trained(WAYS["smollm"])
        head = read_head(write_file(directory(tmp_path / "a", words), tmp_path / "a.gguf"))
        with pytest.raises(BadData, match=r"token \d+ is .* in the model: it is not its teacher's"):
            copied(head, other, len(words))
        with pytest.raises(BadData, match="has 600 tokens and the model 700"):
            copied(head, words, 700)


@pytest.mark.models
def test_the_embedded_models_own_name(models: Path) -> None:
    head = read_head(Path(resolve_model(models, EMBEDDED_TEACHER)))
    assert head.said("tokenizer.ggml.pre") == "smollm"
    assert head.said("llama.block_count") == 30
