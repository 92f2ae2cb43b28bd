"""A tiny Llama that reads bytes, and what is asked of it one title at a time."""

from __future__ import annotations

from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recommender.backends.embedded import EmbeddedBackend

HISTORY = ("Alien (1979)", "Blade Runner (1982)", "Heat")
TITLES = ["Aliens", "Toy Story (1995)", "Heat", "😀" * 5, "x" * 5000, "a<|end|>b", "\x1b[31m\n"]


def byte_tokenizer(*, begins: bool) -> PreTrainedTokenizerFast:
    """One token a byte, and two special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {"<|begin|>": 256, "<|end|>": 257}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|begin|>", "<|end|>"])
    if begins:
        inner.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 256)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>", eos_token="<|end|>"
    )


def save_tiny(path: Path, *, tied: bool = False, begins: bool = False, kv: int = 2) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=kv,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        bos_token_id=256,
        eos_token_id=257,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    byte_tokenizer(begins=begins).save_pretrained(path)
    return path


def open_tiny(path: Path, **shape: bool | int) -> EmbeddedBackend:
    return EmbeddedBackend.open(save_tiny(path, **shape), device="cpu", precision="float32")


def naive(backend: EmbeddedBackend, prefix: list[int], titles: list[str]) -> list[float]:
    """One pass a title, its tokens' log-probabilities added up."""
    totals = []
    for title in titles:
        ids = prefix + backend.title_tokens(title)
        with torch.inference_mode():
            logp = backend.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]].item() for i in range(len(prefix), len(ids))))
    return totals


def write_gguf(
    path: Path,
    tensors: dict[str, torch.Tensor],
    *,
    context: int = 4096,
    rope: float = 10000.0,
    split: str = "",
    begins: bool | None = None,
) -> Path:
    """A Llama of one layer in GGUF's own terms, unquantised, with a byte tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(context)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(rope)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "<|begin|>", "<|end|>", "aa"])
    writer.add_token_merges(["a a"])
    writer.add_token_types([1] * 256 + [3, 3, 1])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    if split:
        writer.add_tokenizer_pre(split)
    if begins is not None:
        writer.add_add_bos_token(begins)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
