"""Where the weights lie of a model that a server answers with: its own file, or a known pair.

Apart because a server gives no hidden states and no gradients: what layers are measured on
has to be opened beside it. Nothing is opened here, and nothing is proved: that two builds are
one model is what `recommender.parity` asks.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from recommender.backends.ollama.address import is_local
from recommender.backends.ollama.models import Facts
from storage.errors import BadSetting

NAME_WEIGHTS = (
    "--weights PATH (a Hugging Face directory, a GGUF file or a hub id), or --weights none to "
    "learn from labels alone"
)
OWN_FILE = "the file the server itself holds"
KNOWN_PAIR = "known pair"

READABLE = ("llama", "qwen2", "qwen3")
"""Architectures, as servers name them, whose layers `EmbeddedBackend` can open and measure."""

_ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("llama2", "meta-llama/Llama-2-{b}-chat-hf", ("7b", "13b", "70b"), ("", "chat")),
    ("llama2", "meta-llama/Llama-2-{b}-hf", ("7b", "13b", "70b"), ("text",)),
    ("llama3", "meta-llama/Meta-Llama-3-{B}-Instruct", ("8b", "70b"), ("", "instruct")),
    ("llama3", "meta-llama/Meta-Llama-3-{B}", ("8b", "70b"), ("text",)),
    ("llama3.1", "meta-llama/Llama-3.1-{B}-Instruct", ("8b", "70b"), ("", "instruct")),
    ("llama3.1", "meta-llama/Llama-3.1-{B}", ("8b", "70b"), ("text",)),
    ("llama3.2", "meta-llama/Llama-3.2-{B}-Instruct", ("1b", "3b"), ("", "instruct")),
    ("llama3.2", "meta-llama/Llama-3.2-{B}", ("1b", "3b"), ("text",)),
    ("llama3.3", "meta-llama/Llama-3.3-{B}-Instruct", ("70b",), ("", "instruct")),
    (
        "qwen2.5",
        "Qwen/Qwen2.5-{B}-Instruct",
        ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"),
        ("", "instruct"),
    ),
    ("qwen3", "Qwen/Qwen3-{B}", ("0.6b", "1.7b", "4b", "8b", "14b", "32b"), ("",)),
    ("qwen3", "Qwen/Qwen3-{B}-Instruct-2507", ("4b",), ("instruct", "instruct-2507")),
    (
        "smollm2",
        "HuggingFaceTB/SmolLM2-{B}-Instruct",
        ("135m", "360m", "1.7b"),
        ("", "instruct"),
    ),
    ("tinyllama", "TinyLlama/TinyLlama-{B}-Chat-v1.0", ("1.1b",), ("", "chat", "chat-v1")),
    ("mistral", "mistralai/Mistral-{B}-Instruct-v0.3", ("7b",), ("", "instruct-v0.3")),
    ("mistral", "mistralai/Mistral-{B}-Instruct-v0.2", ("7b",), ("instruct-v0.2",)),
)
"""(name on a server, hub id, sizes, what a tag may say besides the size and mean it)."""

USUAL = {
    "llama2": "7b",
    "llama3": "8b",
    "llama3.1": "8b",
    "llama3.2": "3b",
    "llama3.3": "70b",
    "qwen2.5": "7b",
    "qwen3": "8b",
    "smollm2": "1.7b",
    "tinyllama": "1.1b",
    "mistral": "7b",
}
"""The size that a name without one means."""

KNOWN = {
    f"{name}:{'-'.join(filter(None, (size, form)))}": hub.format(b=size, B=size.upper())
    for name, hub, sizes, forms in _ROWS
    for size in sizes
    for form in forms
}
"""Name of a model on servers, without its quantisation → hub id of the same training."""

_QUANTISATION = re.compile(r"i?q\d\w*|b?fp?(16|32)")
_SIZE = re.compile(r"\d+(\.\d+)?[bm]")


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """Weights of the model that a server answers with."""

    spec: str
    """What `EmbeddedBackend.open` takes."""
    how: str
    """`OWN_FILE` or `KNOWN_PAIR`."""
    same_build: bool
    """Whether they are the very numbers the server computes with, and not those it was
    quantised from."""
    reason: str = ""
    """Why they are not the server's own file; empty where they are."""


def find_own_weights(facts: Facts, address: str) -> FoundWeights:
    """Find the weights of a server's model: its own GGUF on this machine, else a known pair.

    Args:
        facts: what the server says of the model.
        address: the server's.

    Raises:
        BadSetting: there are none, or they are of a kind whose layers cannot be read here.
    """
    if facts.family and facts.family not in READABLE:
        raise BadSetting(
            f"{facts.name!r} is of the {facts.family} kind, whose layers cannot be measured here "
            f"(only {', '.join(READABLE)} can)",
            next_step="--weights none to learn from labels alone",
        )
    if _has_adapter(facts.modelfile):
        raise BadSetting(
            f"{facts.name!r} is a model with an adapter, and the two cannot be opened as one",
            next_step=NAME_WEIGHTS,
        )
    held, reason, step = _held(facts, address)
    if held:
        return FoundWeights(held, OWN_FILE, same_build=True)
    pair = KNOWN.get(normalised(facts.name))
    if pair:
        mended = f"{reason}; to use it: {step}" if step else reason
        return FoundWeights(pair, KNOWN_PAIR, same_build=False, reason=mended)
    raise BadSetting(
        f"the weights of {facts.name!r} are not known here: {reason}",
        next_step=", or ".join(filter(None, (step, NAME_WEIGHTS))),
    )


def normalised(name: str) -> str:
    """Return a model's name as `KNOWN` has it: with its size, without its quantisation.

    >>> [normalised(name) for name in ("llama3.1", "llama3.1:latest", "llama3.1:8b")]
    ['llama3.1:8b', 'llama3.1:8b', 'llama3.1:8b']
    >>> normalised("llama3.1:8b-instruct-q4_K_M"), normalised("library/Qwen3:0.6b-fp16")
    ('llama3.1:8b-instruct', 'qwen3:0.6b')
    >>> normalised("hf.co/somebody/Llama-3.1-8B:latest")
    'hf.co/somebody/llama-3.1-8b:latest'
    """
    full = name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    head, _, last = full.rpartition("/")
    base, _, tag = last.partition(":")
    words = [word for word in tag.split("-") if word and not _QUANTISATION.fullmatch(word)]
    if not head and base in USUAL:
        words = [word for word in words if word != "latest"]
        if not words or not _SIZE.fullmatch(words[0]):
            words.insert(0, USUAL[base])
    return f"{head}/{base}:{'-'.join(words)}".lstrip("/")


def from_line(modelfile: str) -> str:
    r"""Return what the first FROM of a modelfile names; empty without one.

    >>> from_line('# FROM smol\n\nFROM "C:\\Users\\Ann Lee\\sha256-ab"\nTEMPLATE FROM')
    'C:\\Users\\Ann Lee\\sha256-ab'
    """
    for line in modelfile.split("\n"):
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM" and rest.strip():
            text = rest.strip()
            quote = '"""' if text.startswith('"""') else '"'
            if len(text) > 2 * len(quote) and text.startswith(quote) and text.endswith(quote):
                text = text[len(quote) : -len(quote)]
            return text
    return ""


def _has_adapter(modelfile: str) -> bool:
    """Look in the lines before the first that may hold text of its own."""
    for line in modelfile.split("\n"):
        word = line.strip().partition(" ")[0].upper()
        if word == "ADAPTER":
            return True
        if word and word != "FROM" and not word.startswith("#"):
            return False
    return False


def _held(facts: Facts, address: str) -> tuple[str, str, str]:
    """Return (path of the server's own GGUF or empty, why not, what would mend it)."""
    if not is_local(address):
        return "", f"the server at {address} is another machine", ""
    named = from_line(facts.modelfile)
    path = Path(named)
    if not path.is_absolute():
        return "", f"the server names no file of this machine, but {named!r}", ""
    held = f"{named!r}, which the server holds,"
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe or a device would never answer
            return "", f"{held} is no file", ""
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                return "", f"{held} is not a GGUF file", ""
    except PermissionError:
        return "", f"{held} may not be read by this user", _unlocking(path)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return "", f"{held} is not here ({said})", ""
    return named, "", ""


def _unlocking(path: Path) -> str:
    """Return the command that opens the first folder on the way that is closed, or the file."""
    effective = os.access in os.supports_effective_ids
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK, effective_ids=effective):
            return f"sudo chmod a+x {shlex.quote(str(folder))}"
    return f"sudo chmod a+r {shlex.quote(str(path))}"
