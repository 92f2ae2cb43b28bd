"""Adapters: they start by changing nothing, take all gradients, and survive being kept."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from distill.adapting.adapters import insert, merge, save_adapter, trained, write_model
from distill.adapting.layout import example
from distill.adapting.learner import summed_losses
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from tests.tiny import open_llama

PROMPT = Prompt(("Oak desk", "Desk lamp"), ("Blue ink", "Steel kettle", "Pen"), "things")


@pytest.fixture
def backend(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


def scores(backend: EmbeddedBackend) -> torch.Tensor:
    return torch.tensor(backend.score(PROMPT, "ABC").logprobs)


def moved(adapted: object, by: float = 0.05) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {
        name: weight.detach() + by * torch.randn(weight.shape, generator=chance)
        for name, weight in trained(adapted).items()
    }


def test_they_start_by_changing_nothing_and_follow_from_the_seed(llama: Path) -> None:
    plain = scores(open_llama(llama))
    found = []
    for seed in (3, 3, 4):
        one = open_llama(llama)
        state = torch.random.get_rng_state()
        found.append(trained(insert(one.model, 2, seed=seed)))
        assert torch.equal(torch.random.get_rng_state(), state), "no chance but the seed's"
        torch.testing.assert_close(scores(one), plain)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_only_adapters_take_gradients(backend: EmbeddedBackend) -> None:
    insert(backend.model, 2, seed=0)
    example_ = example(backend, PROMPT, 1, most=200)
    losses = summed_losses(backend.model, [example_], letters_weight=1, said_weight=1, lm_weight=1)
    torch.stack(list(losses.values())).sum().backward()
    having = {name for name, p in backend.model.named_parameters() if p.grad is not None}
    assert having == {n for n, _ in backend.model.named_parameters() if "lora_" in n}
    b = [p.grad for n, p in backend.model.named_parameters() if "lora_B" in n]
    # The values and outputs of every layer are in the way of the answer.
    assert all(g is not None and float(g.abs().sum()) > 0 for g in b)


def test_kept_and_merged_it_says_the_same(llama: Path, tmp_path: Path) -> None:
    backend = open_llama(llama)
    adapted = insert(backend.model, 2, seed=0)
    plain = scores(backend)
    save_adapter(adapted, moved(adapted), "somebody/base", tmp_path)
    learned = scores(backend)
    assert float((learned - plain).abs().max()) > 0.01
    assert {p.name for p in tmp_path.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    merged = merge(open_llama(llama), tmp_path)
    torch.testing.assert_close(scores(merged), learned, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())


def test_peft_reads_what_is_kept(llama: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backend = open_llama(llama)
    adapted = insert(backend.model, 2, seed=0)
    save_adapter(adapted, moved(adapted), str(llama), tmp_path)
    ids = torch.tensor([backend.letters_tokens(PROMPT)[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's about transformers 6
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_merged_directory_is_a_teacher(llama: Path, tmp_path: Path) -> None:
    backend = open_llama(llama)
    adapted = insert(backend.model, 2, seed=0)
    (tmp_path / "adapter").mkdir()
    save_adapter(adapted, moved(adapted), "base", tmp_path / "adapter")
    merged = merge(open_llama(llama), tmp_path / "adapter")
    write_model(merged, torch.float32, tmp_path / "whole")
    opened = EmbeddedBackend.open(tmp_path / "whole", device="cpu", precision="float32")
    torch.testing.assert_close(scores(opened), scores(merged))
    assert opened.describe().layers == backend.describe().layers
