"""Cuts of true Llamas: files, tied weights, generation, and a teacher that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from distill.language.cutting import cut, cut_config
from recommender.backends.passes import only_layers
from recommender.backends.weights import quiet_transformers
from storage.errors import BadData, BadSetting
from tests.distill.importance.llamas import llama, other
from tests.distill.language.classroom import same, weights_of

IDS = torch.tensor([[3, 9, 9, 14, 3, 22, 7, 40, 1], [5, 60, 2, 8, 31, 4, 4, 17, 50]])
KEPT = (0, 2, 3)
MODELS = {
    "llama": lambda: llama(),
    "tied": lambda: llama(tied=True),
    "as many keys": lambda: llama(kv=4),
    "one key": lambda: llama(kv=1),
    "qwen2": lambda: other("qwen2"),
    "qwen3": lambda: other("qwen3"),
}


@pytest.fixture(params=MODELS)
def teacher(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


@torch.no_grad()
def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits


def saved_and_opened(model: Any, path: Path) -> Any:
    with quiet_transformers():
        model.save_pretrained(path)
        return AutoModelForCausalLM.from_pretrained(path).eval()


def test_a_cut_of_nothing_answers_as_its_teacher(teacher: Any) -> None:
    student = cut(teacher, range(4)).eval()
    assert torch.equal(logits(student), logits(teacher))
    assert same(weights_of(student), weights_of(teacher))


def test_a_cut_answers_as_its_teacher_without_those_layers(teacher: Any) -> None:
    with only_layers(teacher, KEPT):
        expected = logits(teacher)
    student = cut(teacher, KEPT).eval()
    assert torch.equal(logits(student), expected)
    assert not torch.allclose(logits(student), logits(teacher), atol=0.1)


def test_from_its_files_it_gives_the_same_bits(teacher: Any, tmp_path: Path) -> None:
    student = cut(teacher, KEPT).eval()
    opened = saved_and_opened(student, tmp_path)
    assert torch.equal(logits(opened), logits(student))
    assert same(weights_of(opened), weights_of(student))
    assert opened.config.num_hidden_layers == len(opened.model.layers) == 3


def test_token_by_token_it_says_what_it_says_at_once(teacher: Any, tmp_path: Path) -> None:
    """Every layer has a place of its own in the cache of keys and values."""
    student = cut(teacher, KEPT).eval()
    for model in (student, saved_and_opened(student, tmp_path)):
        whole, cache, said = logits(model), None, []
        for place in range(IDS.shape[1]):
            with torch.no_grad():
                output = model(IDS[:, place : place + 1], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            said.append(output.logits[:, 0])
        torch.testing.assert_close(torch.stack(said, 1), whole, rtol=1e-4, atol=1e-5)
        assert [layer.keys.shape[2] for layer in cache.layers] == [IDS.shape[1]] * 3


def test_it_writes_text_as_greedily_as_without_a_cache(teacher: Any) -> None:
    student = cut(teacher, KEPT).eval()
    with quiet_transformers():
        made = student.generate(
            IDS[:1], attention_mask=torch.ones(1, 9), max_new_tokens=6, do_sample=False
        )
    ids = IDS[:1]
    for _ in range(6):
        ids = torch.cat([ids, logits(student, ids)[:, -1].argmax(-1, keepdim=True)], 1)
    ending = student.generation_config.eos_token_id
    assert ending not in ids[0, 9:].tolist(), "the test would compare less than it means to"
    assert made.tolist() == ids.tolist()


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    teacher = llama(tied=True)
    student = cut(teacher, (1, 3))
    for model in (student, saved_and_opened(student, tmp_path)):
        assert model.lm_head.weight is model.model.embed_tokens.weight
    untied = cut(llama(), (1, 3))
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_training_a_cut_leaves_the_teacher_as_it_is(teacher: Any) -> None:
    teacher.requires_grad_(False)
    before, answered = weights_of(teacher), logits(teacher)
    student = cut(teacher, KEPT).train()
    first = weights_of(student)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1)
    student(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    optimiser.step()
    assert all(not torch.equal(first[name], weight) for name, weight in weights_of(student).items())
    assert same(weights_of(teacher), before)
    assert torch.equal(logits(teacher), answered)
    assert not any(weight.requires_grad for weight in teacher.parameters())
    shared = {w.data_ptr() for w in student.parameters()} & {
        w.data_ptr() for w in teacher.parameters()
    }
    assert not shared


def test_the_teacher_keeps_its_layers_and_their_numbers(teacher: Any) -> None:
    layers, config = list(teacher.model.layers), teacher.config.to_dict()
    student = cut(teacher, (2, 3))
    assert all(a is b for a, b in zip(teacher.model.layers, layers, strict=True))
    assert [layer.self_attn.layer_idx for layer in layers] == [0, 1, 2, 3]
    assert [layer.self_attn.layer_idx for layer in student.model.layers] == [0, 1]
    assert teacher.config.to_dict() == config
    assert all(
        part.config is student.config for part in student.modules() if hasattr(part, "config")
    )


def test_kinds_of_layers_go_with_them(tmp_path: Path) -> None:
    """A Qwen whose upper layers look only a little way back: each keeps its own kind."""
    teacher = other("qwen3")
    kinds = ["full_attention", "full_attention", "sliding_attention", "sliding_attention"]
    config = type(teacher.config)(
        **{
            **teacher.config.to_dict(),
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": kinds,
        }
    )
    slid = type(teacher)(config).eval()
    slid.load_state_dict(teacher.state_dict())
    assert not torch.allclose(logits(slid)[:, 4:], logits(teacher)[:, 4:]), "a window is looked by"
    student = cut(slid, (1, 2)).eval()
    assert student.config.layer_types == kinds[1:3]
    with only_layers(slid, (1, 2)):
        expected = logits(slid)
    assert torch.equal(logits(student), expected)
    assert torch.equal(logits(saved_and_opened(student, tmp_path)), expected)


def test_lists_of_a_configuration_are_as_long_as_layers_and_others_stay() -> None:
    config = other("qwen3").config
    config.eos_token_id = [1, 2, 3, 4]  # as many as layers, and nothing of theirs
    made = cut_config(config, (0, 3))
    assert len(made.layer_types) == made.num_hidden_layers == 2
    assert made.eos_token_id == [1, 2, 3, 4]
    assert len(config.layer_types) == config.num_hidden_layers == 4


@pytest.mark.parametrize("kept", [(), (1, 0), (1, 1), (4,), (-1, 2)])
def test_layers_that_cannot_be_kept_are_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(BadSetting, match="cannot be kept: rising numbers of 0 to 3"):
        cut(llama(), kept)


def test_another_layout_is_refused() -> None:
    with pytest.raises(BadData, match="laid out like Llama"):
        cut(NoLlama(), (0,))


class NoLlama(nn.Module):
    """A network of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.config = llama().config
        self.encoder = nn.Linear(2, 2)
