"""The plan against what happens: bytes that a real pass keeps, operations that torch counts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    ViTConfig,
)

from distill.importance.footprint import footprint
from distill.importance.gradients.fisher import fisher_batch
from distill.importance.gradients.ghost import GhostNorms
from distill.importance.gradients.head import ROWS
from distill.importance.gradients.norms import linear_square
from distill.importance.plan import (
    CARD,
    GB,
    LLAMA_3_8B,
    Memory,
    Plan,
    norm_buffer,
    plan,
    plan_lines,
)
from distill.importance.requests import PackedRequest, request_loss
from recommender.backends.packed import Pack, pack
from storage.errors import BadData
from tests.distill.importance.peak import Peak

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
KINDS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
CANDIDATES = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1]]
ONE = pack([3, 9, 9, 14, 3, 22, 7], CANDIDATES)
REQUEST = {"tokens": len(ONE), "predicting": len(ONE) - ONE.prefix + 1, "candidates": 3}


def config(kind: str, *, tied: bool = False, **changes: int) -> PretrainedConfig:
    return KINDS[kind](**{**SHAPE, **changes}, tie_word_embeddings=tied)


def real(
    asked: PretrainedConfig, dtype: torch.dtype = torch.float32, attention: str = "sdpa"
) -> nn.Module:
    torch.manual_seed(0)
    own = deepcopy(asked)
    return AutoModelForCausalLM.from_config(own, dtype=dtype, attn_implementation=attention).eval()


def planned(asked: PretrainedConfig, dtype: torch.dtype = torch.float32, **changes: Any) -> Plan:
    return plan(asked, dtype=dtype, **{**REQUEST, "memory_bytes": GB, **changes})


def kept_by_a_real_pass(model: nn.Module, packs: list[Pack]) -> tuple[int, int]:
    """Bytes that `GhostNorms.run` leaves to autograd, and those its hooks hold besides."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, torch.Tensor] = {}
    held: dict[int, torch.Tensor] = {}

    def note(where: dict[int, torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights and tensor.is_floating_point():
            where[place] = tensor
        return tensor

    def hook(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        note(held, args[0])
        if module in blocks:
            note(held, output)

    blocks = list(model.model.layers)
    watched = [m for m in model.model.modules() if isinstance(m, nn.Linear) or "RMSNorm" in str(m)]
    leaves = [m for m in watched if list(m.parameters(recurse=False))]
    handles = [m.register_forward_hook(hook) for m in [*leaves, *blocks]]
    handles.append(model.lm_head.register_forward_hook(hook))
    with (
        torch.enable_grad(),
        GhostNorms(model) as norms,
        torch.autograd.graph.saved_tensors_hooks(lambda t: note(saved, t), lambda t: t),
    ):
        norms.run(packs)
    for handle in handles:
        handle.remove()
    sizes = {place: t.untyped_storage().nbytes() for place, t in (held | saved).items()}
    of_saved = sum(sizes[place] for place in saved)
    return of_saved, sum(sizes.values()) - of_saved


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_weights_keeps_what_a_real_one_keeps(kind: str, dtype: torch.dtype) -> None:
    model = real(config(kind), dtype)
    saved, inputs = kept_by_a_real_pass(model, [ONE])
    # The head saves the last states, which count as inputs in the plan, and, which the plan leaves
    # out, four bytes for each row that predicts and each token that is scored.
    states = len(ONE) * SHAPE["hidden_size"] * dtype.itemsize
    saved -= states + 4 * (REQUEST["predicting"] + len(ONE.targets))
    inputs += states
    found = planned(config(kind), dtype).whole.one
    assert (found.activations, found.inputs) == (saved, inputs)
    assert footprint(model, [ONE]).saved == saved
    assert found.weights == sum(p.nbytes for p in model.parameters())


def test_two_requests_keep_twice_as_much_and_a_layer_more_its_state() -> None:
    counted = {}
    for layers in (3, 4):
        model = real(config("llama", num_hidden_layers=layers))
        counted[layers] = footprint(model, [ONE])
        twice = footprint(model, [ONE, ONE])
        for field in fields(twice):
            assert getattr(twice, field.name) == 2 * getattr(counted[layers], field.name)
    state = 4 * len(ONE) * SHAPE["hidden_size"]
    assert counted[4].lasting - counted[3].lasting == state
    assert counted[4].inside == counted[3].inside < counted[3].saved / 3 + state
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("checkpoint", [False, True], ids=["whole", "checkpointed"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [{}, {"vocab_size": 3000}, {"num_hidden_layers": 12}])
def test_no_more_lives_at_once_than_was_planned(
    shape: dict[str, int], n: int, checkpoint: bool
) -> None:
    asked = config("llama", **shape)
    model = real(asked)
    request = PackedRequest((pack([3, 9, 14] * 20, CANDIDATES),), 1)
    one = request.packs[0]
    lengths = {"tokens": len(one), "predicting": len(one) - one.prefix + 1, "candidates": 3}

    found = planned(asked, **lengths)
    memory = (found.checkpointed if checkpoint else found.whole).one
    with Peak() as peak:
        fisher_batch(model, [request] * n, temperature=3.0, checkpoint=checkpoint)
    without = n * (memory.total - memory.weights)
    assert 0.65 * without < peak.most <= without


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", [20, 300], ids=["gram", "direct"])
def test_the_buffer_of_a_norm_is_what_it_holds(tokens: int, dtype: torch.dtype) -> None:
    a, b = torch.randn(3, tokens, 120, dtype=dtype), torch.randn(3, tokens, 160, dtype=dtype)
    with Peak() as peak:
        linear_square(a, b)
    expected = norm_buffer(3, tokens, 120, 160, dtype)
    assert expected <= peak.most <= expected + 40 * (3 * tokens + 160)


def counted_by_torch(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("tokens", [7, 80], ids=["gram", "direct"])
@pytest.mark.parametrize("kind", KINDS)
def test_work_is_what_torch_counts(kind: str, tokens: int) -> None:
    asked = config(kind)
    model = real(asked, attention="eager")  # of attention in one piece torch counts nothing here
    one = pack([3] * tokens, CANDIDATES)
    lengths = {"tokens": len(one), "predicting": len(one) - one.prefix + 1, "candidates": 3}
    found = planned(asked, **lengths)
    kept: list[torch.Tensor] = []
    with torch.enable_grad(), GhostNorms(model) as norms:
        forward = counted_by_torch(lambda: kept.extend(norms.run([one])))
        loss = request_loss(kept[0], 1, 3.0)
        back = counted_by_torch(lambda: norms.backward(loss))
    assert forward == found.body.forward + found.head.forward
    assert back == sum(part.back + part.norms for part in (found.body, found.head))
    model.requires_grad_(True)
    ids = torch.from_numpy(one.ids)[None]
    every = counted_by_torch(lambda: model.model(ids).last_hidden_state.sum().backward())
    # Below the first layer nothing is gone back to: the tokens' embeddings are looked up.
    assert every == found.body.naive


def test_of_llama_3_8b_ghost_norms_are_three_quarters_of_the_naive_loop() -> None:
    """algorithms.md §4.3: 4.5e11 + 4.3e10 against 6.7e11 a layer at 512 tokens.

    Of the grams, which are most of the 4.3e10, a quarter is not worked out.
    """
    found = plan(
        LLAMA_3_8B,
        dtype=torch.bfloat16,
        tokens=512,
        predicting=512,
        candidates=20,
        memory_bytes=CARD,
    )
    attention = 3 * 4 * 512**2 * 4096 * 32
    layers = 32
    both_ways = found.body.forward + found.body.back - attention
    assert both_ways / layers == pytest.approx(4.5e11, rel=0.01)
    assert 0.6 * 4.3e10 < found.body.norms / layers < 0.8 * 4.3e10
    assert (found.body.naive - attention) / layers == pytest.approx(6.7e11, rel=0.01)
    assert found.body.ghost / found.body.naive == pytest.approx(0.715, abs=0.01)
    assert found.parameters.total == 8_030_261_248
    assert found.verdict == "fits"
    assert found.whole.memory.weights == 2 * 8_030_261_248


def test_the_verdict_is_that_of_the_memory_there_is() -> None:
    whole, little = planned(config("llama")).whole.one, planned(config("llama")).checkpointed.one
    assert little.total < whole.total
    for memory, verdict in (
        (whole.total, "fits"),
        (whole.total - 1, "fits with gradient checkpointing"),
        (little.total, "fits with gradient checkpointing"),
        (little.total - 1, "does not fit"),
    ):
        found = planned(config("llama"), memory_bytes=memory)
        assert found.verdict == verdict
        assert found.chosen.fits is (verdict != "does not fit")
        assert found.whole.one == whole
        assert verdict in " ".join(plan_lines(found))


@pytest.mark.parametrize("memory", [10**6, 3 * 10**6, 10**7 + 7])
def test_the_batch_is_the_largest_that_fits(memory: int) -> None:
    found = planned(config("llama"), memory_bytes=memory)
    for way in (found.whole, found.checkpointed):
        assert way.fits
        assert way.memory.total <= memory
        # Everything but the weights and a buffer grows with each request.
        more = sum(getattr(way.one, name) for name in ("activations", "inputs", "gradients"))
        assert way.memory.total + more + way.one.logits + way.one.buffer > memory
        assert way.memory.activations == way.batch * way.one.activations
    assert found.checkpointed.batch > found.whole.batch


def test_a_tied_matrix_is_one_and_logits_are_float32_in_any_precision() -> None:
    tied, two = planned(config("qwen2", tied=True)), planned(config("qwen2"))
    assert (tied.parameters.head, two.parameters.head) == (0, 61 * 32)
    assert two.whole.one.weights - tied.whole.one.weights == 4 * 61 * 32
    logits = REQUEST["predicting"] * 61
    few = logits  # of so few rows the copy is one of all
    assert two.whole.one.logits == 4 * (logits + few)
    assert planned(config("qwen2"), torch.bfloat16).whole.one.logits == 4 * (logits + few)
    long = planned(config("qwen2"), tokens=200, predicting=100).whole.one
    assert long.logits == 4 * 61 * (100 + ROWS)
    rounded = planned(config("qwen2"), torch.bfloat16, tokens=200, predicting=100).whole.one
    assert rounded.logits == (4 + 2) * 61 * 100


def test_lines_say_every_part_and_add_up() -> None:
    found = planned(config("qwen3"), memory_bytes=10**7)
    lines = plan_lines(found)
    assert lines[0].startswith("qwen3, 0.03 million weights in float32")
    table = [line for line in lines if line.endswith(" GB") and "  " in line]
    assert len({len(line) for line in table}) == 1
    assert len(table) == len(fields(Memory)) + 2
    one = next(line for line in table if line.startswith("together"))
    assert f"{found.whole.one.total / GB:.3f} GB" in one


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(BadData, match=r"GPT2LMHeadModel.*Llama"):
        planned(GPT2Config(n_layer=1))
    with pytest.raises(BadData, match="no memory plan for a 'vit'"):
        planned(ViTConfig())
    with pytest.raises(BadData):
        planned(BertConfig(is_decoder=True, num_hidden_layers=1))
    for wrong in ({"tokens": 3, "predicting": 4}, {"predicting": 0}, {"candidates": 0}):
        with pytest.raises(ValueError, match="predicting"):
            planned(config("llama"), **wrong)


def test_the_settings_are_left_as_they_were() -> None:
    asked = config("llama")
    before = deepcopy(asked.to_dict())
    planned(asked, torch.bfloat16)
    assert asked.to_dict() == before
