"""Finding a model's weights, knowing them again, and loading them: files in, network out.

Apart from `embedded`, which asks a loaded model. Nothing here runs a model. Weights are
safetensors or GGUF; files that would have to be unpickled are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from storage.errors import BadData, BadSetting, Offline, RecsysError, UnknownName

WHOLE_LIMIT = 256 * 2**20
"""Up to this many bytes of weights are hashed whole, which takes under half a second."""

SAMPLES = 64
SAMPLE_BYTES = 2**20

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class WeightsPlace:
    """Where a model lies and what form it has."""

    kind: Literal["directory", "gguf"]
    path: Path
    """The directory, or the GGUF file."""
    name: str
    source: str
    """What the user wrote."""


def find_weights(spec: str | Path) -> WeightsPlace:
    """Find a Hugging Face directory, a GGUF file, a directory with one, or a hub id.

    Raises:
        UnknownName: There is nothing of that name, or the hub wants a login for it.
        BadData: There is something, but no model of a kind we read, or it may not be read.
        Offline: It is a hub id that is neither in the local cache nor reachable.
    """
    path = Path(spec).expanduser()
    text = str(spec)
    try:
        if path.is_file():
            with path.open("rb") as file:
                if file.read(4) != b"GGUF":
                    raise BadData(f"{text!r} is not a GGUF file", next_step="recsys models list")
            return WeightsPlace("gguf", path, path.stem, text)
        if path.is_dir():
            return _in_directory(path, text)
    except PermissionError as error:
        step = f"sudo chmod a+r {path}, and a+x for the folders it lies in"
        raise BadData(f"{text!r} may not be read by this user", next_step=step) from error
    if _HUB_ID.fullmatch(text) and not text.endswith(".gguf"):
        return _in_directory(_from_hub(text), text)
    raise UnknownName(f"no model {text!r}", next_step="recsys models list")


def _in_directory(path: Path, source: str) -> WeightsPlace:
    name = source.rstrip("/").rsplit("/", 1)[-1] or path.name
    if (path / "config.json").is_file():
        if not list(path.glob("*.safetensors")):
            raise BadData(
                f"{source!r} has no *.safetensors; other formats can hold code and are not read",
                next_step="convert it with safetensors' convert tool, then ask again",
            )
        return WeightsPlace("directory", path, name, source)
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1:
        return WeightsPlace("gguf", files[0], files[0].stem, source)
    what = f"{len(files)} GGUF files, name one" if files else "no config.json and no GGUF file"
    raise BadData(f"{source!r} is not a model directory: {what}", next_step="recsys models list")


def _from_hub(name: str) -> Path:
    # Deferred: huggingface_hub takes a while to import and most models lie in a directory.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]
    # Some owners put the same weights there a second time, in a form of their own.
    doubles = ["consolidated*", "original/*"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=doubles))
    except HfHubHTTPError as error:
        raise _hub_refusal(error, name) from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise _offline(name) from error


def _hub_refusal(error: Any, name: str) -> RecsysError:
    # Deferred for the same reason.
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    login = (
        f"accept the licence at https://huggingface.co/{name} in a browser, then hf auth login, "
        "then the same command again"
    )
    if isinstance(error, GatedRepoError):  # a RepositoryNotFoundError too, so it comes first
        what = f"the owner of {name!r} gives it only to people who have accepted its licence"
        return UnknownName(what, next_step=login)
    if error.response.status_code in (401, 403):
        # To whom it does not know, the hub does not say whether a model is private or not there.
        what = f"no model {name!r} on the hub, or it asks for a login"
        return UnknownName(what, next_step=f"recsys models list, or if it is there: {login}")
    if isinstance(error, RepositoryNotFoundError):
        return UnknownName(f"no model {name!r} on the hub", next_step="recsys models list")
    return _offline(name)


def _offline(name: str) -> Offline:
    return Offline(
        f"model {name!r} is not on this machine and the hub cannot be reached",
        next_step="bring its directory or a GGUF file and name that path as --teacher",
    )


def weights_digest(place: WeightsPlace) -> str:
    """Hash the weights, with the configuration and the tokenizer beside them.

    Up to `WHOLE_LIMIT` bytes every byte counts ('sha256:…'). Above it, file sizes, the
    first block (in safetensors: names, shapes and places of all tensors) and `SAMPLES`
    blocks spread evenly over each file count ('sampled:…'): quick for any size, and different
    for another training or another quantisation, but no proof against a changed byte.
    """
    if place.kind == "gguf":
        files = [place.path]
    else:
        named = [place.path / "config.json", place.path / "tokenizer.json"]
        files = [f for f in named if f.is_file()] + sorted(place.path.glob("*.safetensors"))
    whole = sum(f.stat().st_size for f in files) <= WHOLE_LIMIT
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name if place.kind == 'directory' else ''}:{size};".encode())
        for block in _blocks(file, size, whole or file.suffix == ".json"):
            digest.update(block)
    return f"{'sha256' if whole else 'sampled'}:{digest.hexdigest()[:24]}"


def _blocks(file: Path, size: int, whole: bool) -> Iterator[bytes]:
    with file.open("rb") as stream:
        if whole or size <= (SAMPLES + 1) * SAMPLE_BYTES:
            while block := stream.read(SAMPLE_BYTES):
                yield block
            return
        for sample in range(SAMPLES + 1):
            stream.seek((size - SAMPLE_BYTES) * sample // SAMPLES)
            yield stream.read(SAMPLE_BYTES)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and remarks off the terminal, and put its settings back."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_directory(path: Path, *, source: str, dtype: Any) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a Hugging Face directory, frozen and in eval mode.

    Raises:
        BadData: It is damaged, or of an architecture transformers does not know.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadData(
            f"{source!r} cannot be loaded as a language model: {reason}",
            next_step="recsys models list",
        ) from error
    return model.eval().requires_grad_(False), tokenizer


def choose_device(device: str) -> str:
    """Turn 'auto' into 'cuda', 'mps' or 'cpu', in that order of preference.

    Raises:
        BadSetting: A device that this machine does not have was asked for by name.

    >>> choose_device("cpu")
    'cpu'
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name, there in present.items() if there), "cpu")
    if device.split(":")[0] not in ("cpu", *(name for name, there in present.items() if there)):
        raise BadSetting(f"no device {device!r} on this machine", next_step="--device auto")
    return device


def choose_precision(precision: str, device: str) -> str:
    """Turn 'auto' into 'bfloat16' where the hardware multiplies it natively, else 'float32'.

    On a CPU with such instructions bfloat16 is about 2.5 times as fast; without them it is
    slower than float32.

    Raises:
        BadSetting: It is none of 'auto', 'float32', 'bfloat16'.

    >>> choose_precision("float32", "cpu")
    'float32'
    """
    import torch

    if precision in ("float32", "bfloat16"):
        return precision
    if precision != "auto":
        raise BadSetting(
            f"no precision {precision!r}: auto, float32 or bfloat16", next_step="--precision auto"
        )
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported()
    elif device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        native = any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        native = False
    return "bfloat16" if native else "float32"
