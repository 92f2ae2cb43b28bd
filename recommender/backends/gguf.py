"""A GGUF file made into a Hugging Face directory once, so that later opens take seconds.

Apart from `weights`, because it writes. The numbers are the de-quantised ones, kept in
float32: nothing is lost between the file and what is scored or measured.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.backends.weights import WeightsPlace, load_directory, quiet_transformers
from storage.errors import BadData

if TYPE_CHECKING:
    from storage.artifacts import Artifacts

CONVERTER = "gguf-to-safetensors-1"


def load_gguf(
    place: WeightsPlace, digest: str, *, artifacts: Artifacts | None, dtype: Any
) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a GGUF file.

    With `artifacts` the conversion is kept there under the file's digest and found again;
    without, it is made in memory each time (about half a minute for 135 M parameters).

    Raises:
        BadData: The file is damaged or of an architecture transformers cannot read.
    """
    if artifacts is None:
        model, tokenizer = _read(place)
        return model.to(dtype).eval().requires_grad_(False), tokenizer
    inputs = {"weights": digest, "converter": CONVERTER}
    kept = artifacts.find("model", inputs)
    if kept is None:
        with artifacts.writing("model", inputs) as path:
            _write(*_read(place), path)
        kept = artifacts.find("model", inputs)
        assert kept is not None, "an artifact that was just written is found"
    return load_directory(Path(kept.path), source=place.source, dtype=dtype)


def _read(place: WeightsPlace) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = place.path.parent, place.path.name
    try:
        # The conversion draws a bar on stderr that transformers' own settings do not reach.
        with quiet_transformers(), redirect_stderr(StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
            model = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=file, attn_implementation="sdpa"
            )
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadData(
            f"{place.source!r} cannot be read as GGUF: {reason}",
            next_step="remove the file, then recsys models fetch",
        ) from error
    return model, tokenizer


def _write(model: Any, tokenizer: Any, path: Path) -> None:
    from safetensors.torch import save_file

    config = model.config
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    config.tie_word_embeddings = tied
    # transformers marks the de-quantised model as quantised, and then refuses to save it.
    config.__dict__.pop("quantization_config", None)
    config.architectures = [type(model).__name__]
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if tied:
        state.pop("lm_head.weight", None)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(path)
    with quiet_transformers():
        tokenizer.save_pretrained(path)
