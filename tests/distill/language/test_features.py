"""What is kept of a pass is what transformers itself says it computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.language.features import Capture, Captured, Wanted, causal
from distill.matches import Match
from tests.distill.importance.llamas import llama, other

IDS = torch.tensor([[3, 9, 9, 14, 3, 22, 7], [5, 60, 2, 8, 0, 0, 0]])
REAL = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
EVERY = Wanted(hidden=(0, 1, 2, 3, 4), attended=(1, 2, 3, 4))
MODELS = {
    "as many keys": lambda: llama(kv=4),
    "grouped": lambda: llama(kv=2),
    "one key": lambda: llama(kv=1),
    "qwen2": lambda: other("qwen2"),
    "qwen3": lambda: drawn_norms(other("qwen3")),
}


def drawn_norms(model: Any) -> Any:
    """Norms of queries and keys that are not all ones: one that is left out would be seen."""
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_norm.weight.uniform_(0.5, 2)
            layer.self_attn.k_norm.weight.uniform_(0.5, 2)
    return model


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def run(model: Any, **more: Any) -> Any:
    return model(input_ids=IDS, attention_mask=REAL.long(), use_cache=False, **more)


def kept_of(model: Any, wanted: Wanted = EVERY) -> Captured:
    with torch.no_grad(), Capture(model, wanted) as kept:
        run(model)
    return kept


def hooks(model: nn.Module) -> int:
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in model.modules()
    )


# --- against transformers ----------------------------------------------------------------


def test_states_are_the_models_hidden_states(model: Any) -> None:
    kept = kept_of(model)
    with torch.no_grad():
        told = run(model, output_hidden_states=True).hidden_states
        last = model.model.norm(kept.hidden[4])
    for output in range(4):
        assert torch.equal(kept.hidden[output], told[output]), output
    assert torch.equal(last, told[4]), "the last one is told normed, and kept before the norm"


def test_scores_are_the_models_attention(model: Any) -> None:
    kept = kept_of(model)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        told = run(model, output_attentions=True).attentions
    sight = causal(REAL)
    rows = REAL[:, None, :].expand(2, 4, 7)
    for layer in range(1, 5):
        scores = kept.attended[layer].scores()
        assert scores.shape == (2, 4, 7, 7)
        looks = scores.masked_fill(~sight, -torch.inf).softmax(-1)
        torch.testing.assert_close(looks[rows], told[layer - 1][rows], rtol=1e-5, atol=1e-6)
    assert told[0][rows].max() - told[0][rows].min() > 0.3, "no attention to speak of"


def test_what_is_attended_gives_what_attention_gives(model: Any) -> None:
    """Values too: A V through the output projection is what comes out of the part."""
    given: list[Tensor] = []
    part = model.model.layers[2].self_attn
    handle = part.register_forward_hook(lambda _part, _args, made: given.append(made[0]))
    kept = kept_of(model, Wanted(attended=(3,))).attended[3]
    handle.remove()
    looks = kept.scores().masked_fill(~causal(REAL), -torch.inf).softmax(-1)
    values = kept.values.repeat_interleave(4 // kept.values.shape[1], dim=1)
    with torch.no_grad():
        made = part.o_proj((looks @ values).transpose(1, 2).reshape(2, 7, -1))
    torch.testing.assert_close(made[REAL], given[0][REAL], rtol=1e-4, atol=1e-5)


# --- what it leaves as it was ------------------------------------------------------------


def test_the_answer_is_the_same_and_no_hook_stays(model: Any) -> None:
    before = hooks(model)
    with torch.no_grad():
        alone = run(model).logits
        with Capture(model, EVERY):
            watched = run(model).logits
            assert hooks(model) > before
    assert torch.equal(watched, alone)
    assert hooks(model) == before


def test_no_hook_stays_behind_an_error() -> None:
    model = llama()
    before = hooks(model)
    with pytest.raises(IndexError), Capture(model, EVERY):
        model(input_ids=torch.tensor([[61]]))  # no such token
    assert hooks(model) == before


def test_nothing_is_kept_that_is_not_wanted() -> None:
    kept = kept_of(llama(), Wanted(hidden=(3,), attended=(2,)))
    assert (set(kept.hidden), set(kept.attended)) == ({3}, {2})
    kept = kept_of(llama(), Wanted())
    assert not kept.hidden
    assert not kept.attended


def test_of_several_passes_the_last_is_kept() -> None:
    model = llama()
    expected = kept_of(model)
    with torch.no_grad(), Capture(model, EVERY) as kept:
        model(input_ids=IDS.flip(1), use_cache=False)
        run(model)
    for output in range(5):
        assert torch.equal(kept.hidden[output], expected.hidden[output])
    assert torch.equal(kept.attended[4].scores(), expected.attended[4].scores())


# --- gradients ---------------------------------------------------------------------------


def test_what_is_kept_has_the_students_graph() -> None:
    model = llama()
    with Capture(model, Wanted(hidden=(0, 2), attended=(3,))) as kept:
        run(model)
    attended = kept.attended[3]
    total = attended.scores().sum() + attended.values.sum() + kept.hidden[2].sum()
    (total + kept.hidden[0].sum()).backward()
    layers = model.model.layers
    assert all(w.grad is not None for w in layers[1].parameters())
    touched = {n for n, w in layers[2].named_parameters() if w.grad is not None}
    of_attention = {f"self_attn.{part}_proj.weight" for part in "qkv"}
    assert touched == {*of_attention, "input_layernorm.weight"}
    assert all(w.grad is None for w in layers[3].parameters())


@pytest.mark.parametrize("kind", ["grouped", "qwen3"])
def test_layers_that_run_again_give_the_same_gradients(kind: str) -> None:
    """Regression: what was made inside a checkpointed layer could not be gone back through."""
    found = []
    for again in (False, True):
        model = MODELS[kind]().train()
        if again:
            model.activation_checkpointing_enable({"use_reentrant": False})
        with Capture(model, EVERY) as kept:
            run(model)
        parts = [one.scores().square().mean() for one in kept.attended.values()]
        parts += [one.values.square().mean() for one in kept.attended.values()]
        parts += [one.square().mean() for one in kept.hidden.values()]
        torch.stack(parts).sum().backward()
        found.append({n: w.grad for n, w in model.named_parameters() if w.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


# --- what is asked for -------------------------------------------------------------------


def test_what_matches_look_at() -> None:
    matches = [
        Match((2, 4), 1),
        Match(1, 3, "attention", "attention-kl"),
        Match(3, 2, "keys", "relation-kl"),
        Match(4, 2, "supervision", "task"),
        Match(0, 0),
    ]
    assert Wanted.of_teacher(matches) == Wanted(hidden=(0, 2, 4), attended=(1, 3))
    assert Wanted.of_student(matches) == Wanted(hidden=(0, 1, 2), attended=(2, 3))
    assert Wanted.of_teacher(matches).anything
    assert not Wanted.of_teacher(matches[3:4]).anything


@pytest.mark.parametrize(
    "wanted", [Wanted(hidden=(5,)), Wanted(hidden=(-1,)), Wanted(attended=(0,)), Wanted((), (5,))]
)
def test_layers_that_are_not_there_are_refused(wanted: Wanted) -> None:
    with pytest.raises(ValueError, match=r"is not within 0\.\.4"):
        Capture(llama(), wanted)


def test_sight_by_its_definition() -> None:
    real = torch.tensor([[False, True, True, False], [True, False, True, True]])
    sight = causal(real)
    assert sight.shape == (2, 1, 4, 4)
    for b in range(2):
        for t in range(4):
            for s in range(4):
                assert bool(sight[b, 0, t, s]) == (s <= t and bool(real[b, s]))
