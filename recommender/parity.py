"""Whether the model that a server answers with is the one whose weights are open here.

Apart from both sides, because it asks both: labels come from the server, layers are measured
on the weights, and weights of another model would be measured without a word. What is asked
is a few prompts, token for token as written; how far the answers are apart, `differences`
says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.own_weights import NAME_WEIGHTS
from recommender.backends.packed import pack
from recommender.backends.passes import pack_hidden
from recommender.chat_prompts import OPENING, letters_turn
from recommender.differences import HALF, Parity, compare
from recommender.letters import TOP
from storage.errors import BadSetting

NAMED = 1000
"""Tokens that are named here. One that is not among them is no likelier than the last."""
WIDE = ("F32", "F16", "BF16", "Q8_0")
"""Quantisations that leave a model what it was."""

DEFAULT_PROMPTS = (
    "The capital of France is",
    "Order no. 4821-B (3.5 x 11 in., 24/7), 12 pcs @ $19.99 = $",
    "Die Hauptstadt von Österreich heißt Wien, und 日本の首都は東京です。L'Italie, c'est",
    "Products that one customer chose, oldest first:\n- Dry Erase Markers, Fine Tip, 36-Count\n"
    "- Retractable Gel Ink Pens, 0.7 mm\n-",
)
"""Asked as they are: plain words, digits and signs, other languages, a list of titles."""

_TITLES = """Dry Erase Markers, Fine Tip, Black, 36-Count
Retractable Erasable Gel Ink Pens, 0.7 mm, 3 Pack
Expanding File with 13 Pockets, Letter Size
Brass Paper Fasteners, 1-1/4 in., 100 per Box
Permanent Markers, Assorted Colours, 12-Pack
Heavy Duty Stapler with 5000 Staples
Sticky Notes, 3 x 3 in., 24 Pads
Mechanical Pencils, 0.5 mm, with Leads and Erasers
Bottled Fountain Pen Ink, Turquoise, 50 ml
Chisel Tip Highlighters, Fluorescent Yellow, Box of 36
All-in-One Wireless Printer with Mobile Printing
Triangular #2 Pencils, Wood-Cased, Pack of 6
Double Sided Tape for Office and Home Use
Binder Clips, Small, 3/4 in. Width, 144 Count
Rubber Bands, Size 16, 475 per Pack
High Yield Black Toner Cartridge""".splitlines()

QUESTION = letters_turn(Prompt(tuple(_TITLES[:8]), tuple(_TITLES[8:])), "ABCDEFGH")
"""Asked besides, between the control tokens of the model's own template, as labels are: long
enough for positions that are counted otherwise to show."""


class NotTheSameModel(BadSetting):
    """Weights that are not those of the model a server answers with."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may lie between two computations of one model, in nats."""

    typical: float
    """Of `Parity.typical`."""
    largest: float
    """Of `Parity.largest`."""


NEAR = Limits(typical=0.18, largest=0.9)
FAR = Limits(typical=0.9, largest=4.0)


def check_parity(
    server: OllamaBackend,
    weights: EmbeddedBackend,
    prompts: Sequence[str] = (),
    *,
    same_build: bool = False,
) -> Parity:
    """Ask both sides, and return how far they are apart.

    Args:
        server: the model that answers.
        weights: what is taken for the same model.
        prompts: asked as they are written; none means `DEFAULT_PROMPTS` and `QUESTION`.
        same_build: the weights are the very file that the server holds, so that nothing but
            rounding may lie between them.

    Raises:
        NotTheSameModel: they split a text differently, or are further apart than `limits_of`.
        BadSetting: the server names no log-probabilities.
        BackendError: it did not answer.
    """
    card = server.describe()
    if "letters" not in card.abilities:
        raise server.refusal(f"be compared with weights: {card.server} names no log-probabilities")
    asked = prompts or [*DEFAULT_PROMPTS, server.template.around(QUESTION, OPENING)]
    there = [ask_server(server, prompt) for prompt in asked]
    here = [ask_weights(weights, prompt) for prompt in asked]
    parity = compare(
        [count for count, _ in there],
        [count for count, _ in here],
        [top for _, top in there],
        [logprobs for _, logprobs in here],
    )
    limits = limits_of(card.precision, same_build=same_build)
    require_same(parity, limits, server=card.name, weights=weights.describe().source)
    return parity


def limits_of(precision: str, *, same_build: bool) -> Limits:
    """Return what may lie between a server's model and the weights here.

    Measured in nats (typical, largest) with SmolLM2-135M Q4_1, float32 and bfloat16:

    - one file on both sides: 0.04 to 0.07 and 0.22 on the default prompts; 0.05 to 0.06 and
      0.58 on 80 recorded answers of Ollama 0.24.0 and 0.32.15; a server of Q8_0: 0.10 and 0.34;
    - any one of the 30 layers left out: at least 0.33 and 1.43; noise of 3 % of the weights'
      deviation: 0.20 and 1.05 (of 2 %, which passes: 0.13 and 0.72);
    - a server of Q5_0 or Q5_1: up to 0.53 and 2.7; of Q4_0, rounded plainly, 1.7 and 6.0, which
      is refused: a model so small is another one then; six layers left out: 6.1 and 9.6.

    So `NEAR` tells a missing layer, and `FAR` only another model. A larger model loses less.

    >>> limits_of("Q4_K_M", same_build=False) == FAR, limits_of("F16", same_build=False) == NEAR
    (True, True)
    """
    return NEAR if same_build or precision.upper() in WIDE else FAR


def require_same(parity: Parity, limits: Limits, *, server: str, weights: str) -> None:
    """Refuse weights that are further from the server's model than `limits`.

    Raises:
        NotTheSameModel: with what differs.
    """
    unequal = next((one for one in parity.prompts if not one.same_count), None)
    said = ""
    if unequal:
        said = (
            f"token counts {unequal.counted} against {unequal.here} for the same text: "
            "another tokenizer"
        )
    elif not parity.compared:
        said = "the server named no token that could be compared"
    elif parity.typical > limits.typical or parity.largest > limits.largest:
        said = (
            f"log-probabilities {parity.typical:.2f} nats apart as a rule and up to "
            f"{parity.largest:.2f}, where one model has {limits.typical} and {limits.largest} at "
            "most: another model or quantisation"
        )
    if said:
        raise NotTheSameModel(
            f"the weights {weights!r} are not those of {server!r}: {said}",
            next_step=NAME_WEIGHTS,
        )


def ask_server(server: OllamaBackend, prompt: str) -> tuple[int, list[tuple[str, float]]]:
    """Return how many tokens a prompt has on the server, and what would follow it."""
    answer = server.client.generate(server.fields(prompt, predict=1, top=TOP), patient=True)
    entries = answer.get("logprobs") or [{}]
    top = entries[0].get("top_logprobs") or []
    return (
        int(answer.get("prompt_eval_count") or 0),
        [(str(one.get("token", "")), float(one.get("logprob", 0.0))) for one in top],
    )


def ask_weights(weights: EmbeddedBackend, prompt: str) -> tuple[int, dict[str, float]]:
    """Return how many tokens a prompt has here, and what would follow it, as a server names it.

    Control tokens in the prompt are taken for what they say, and the text begins with the token
    that the tokenizer begins one with, as llama.cpp does.
    """
    ids = list(weights.tokenizer(prompt)["input_ids"])
    with torch.inference_mode():
        hidden = pack_hidden(weights.model, pack(ids, [ids[:1]]))[len(ids) - 1 : len(ids)]
        logits = weights.model.lm_head(hidden)[0].float()
        values, tokens = torch.log_softmax(logits, dim=-1).topk(min(NAMED, len(logits)))
    found: dict[str, float] = {}
    for text, value in zip(
        _texts(weights.tokenizer, tokens.tolist()), values.tolist(), strict=True
    ):
        # Half a character is cut off by servers, and what is left can be another token's text.
        name = text.rstrip(HALF)
        found[name] = math.nan if name in found else value
    return len(ids), found


def _texts(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """Return the text of each token as it stands inside a text, with its leading space."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    start = len(tokenizer.decode(before, **options))
    return [tokenizer.decode([*before, token], **options)[start:] for token in tokens]
