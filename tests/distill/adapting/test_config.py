"""Bad settings are sentences, and said before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.adapting.adapt import adapt
from distill.adapting.config import AdaptConfig, check
from distill.adapting.opening import weights_spec
from recommender.config import Settings
from storage.errors import BadSetting, RecsysError
from tests.tiny import finished


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"candidates": 21}, "21 candidates cannot be asked by letters"),
        ({"candidates": 1}, "1 candidates cannot be asked"),
        ({"mix": "mixt"}, "no mix 'mixt': one of"),
        ({"minutes": -1}, "= -.* is out of its range: at least 0"),
        ({"minutes": 0.5}, "0.5 minutes are too few to judge"),
        ({"requests": -1}, "= -.* is out of its range: at least 0"),
        ({"letters_weight": -0.1}, "none may be negative"),
        ({"said_weight": -0.1}, "said_weight = -0.1 is out of its range: at least 0"),
        ({"letters_weight": 0, "lm_weight": 0}, "one must count"),
        ({"prompt_tokens": 20}, "20 tokens have no room"),
        ({"rank": 0}, "rank = 0 is out of its range: at least 1"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 is out of its range: above 0"),
        ({"epochs": 0}, "epochs = 0 .*: at least 1"),
        ({"test_requests": 0}, "test_requests = 0 .*: at least 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(BadSetting, match=what):
        check(AdaptConfig("Books", **changes))  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match=what):
        next(iter(adapt("Books", settings=Settings(data_dir=Path("nowhere")), **changes)))


def test_a_configuration_comes_back_from_its_plain_values() -> None:
    config = AdaptConfig("Books", rank=4, merged=False)
    assert AdaptConfig(**config.as_dict()) == config  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("teacher", "what"),
    [
        ("minilm", "'minilm' is a text encoder: only a language model can be adapted"),
        ("llama3.1:8b", "no Ollama server|nobody|answers|refused|reach"),
        ("no/such/file.gguf", "no teacher 'no/such/file.gguf'"),
    ],
)
def test_what_has_no_weights_here_is_refused(tmp_path: Path, teacher: str, what: str) -> None:
    with pytest.raises(RecsysError, match=what) as refused:
        finished(weights_spec(teacher, Settings(data_dir=tmp_path)))
    assert refused.value.next_step
