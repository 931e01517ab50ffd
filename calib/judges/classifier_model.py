"""Load a classifier or guard model from a folder or the hub: safetensors only, complete weights."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    logging,
)

from calib.config.judge import ClassifierJudge
from calib.models.load import fingerprint
from calib.util.errors import CalibError

_CLASSES = {"generative": AutoModelForCausalLM, "sequence": AutoModelForSequenceClassification}


@dataclass(frozen=True)
class Loaded:
    """A classifier that is ready to be asked."""

    model: Any
    tokenizer: Any
    pad: int
    """Token id that fills up shorter rows; always masked."""
    limit: int | None
    """Tokens that a prompt and what is written after it may have; None where nothing says."""

    @property
    def fingerprint(self) -> str:
        """Hash of config, weights' sample, tokenizer, chat template and how it generates, with
        max_new_tokens."""
        template = getattr(self.tokenizer, "chat_template", None)
        return fingerprint(
            self.model, SimpleNamespace(tokenizer=self.tokenizer, chat_template=template)
        )


def load(config: ClassifierJudge) -> Loaded:
    """The model that ``config`` names, in evaluation mode, set to write greedily.

    Raises CalibError when the checkpoint is not there, is of another kind, holds pickled weights
    only, or lacks weights (transformers would fill them with random numbers).
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    common = {"revision": config.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.checkpoint, **common)
        model, info = _CLASSES[config.kind].from_pretrained(
            config.checkpoint,
            **common,
            dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
            device_map=config.device_map or _one_device(),
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, HFValidationError) as error:
        raise CalibError(_explain(config, error)) from error
    absent = sorted(info["missing_keys"])
    if absent:
        raise CalibError(
            f"judge.checkpoint={config.checkpoint} lacks {len(absent)} weights (first: "
            f"{absent[0]}); judging with it would use random numbers in their place. Get a "
            f"complete copy, and check that it is of judge.kind={config.kind}."
        )
    model.eval()
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    # Decoders that classify look for the last token that is none.
    model.config.pad_token_id = pad
    model.generation_config = _greedy(model, tokenizer, config.max_new_tokens, pad)
    return Loaded(model, tokenizer, pad, _limit(model, tokenizer))


def _one_device() -> str:
    from accelerate import PartialState

    return str(PartialState().device)


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int, pad: int) -> GenerationConfig:
    """In place of the checkpoint's own settings, which may sample or penalise; its ends stay."""
    stored = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = tokenizer.eos_token_id if stored is None else stored
    return GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=pad
    )


def _limit(model: Any, tokenizer: Any) -> int | None:
    places = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if places is not None and padding is not None:  # RoBERTa counts places from behind its padding
        places -= padding + 1
    # A tokenizer that does not know says so with a number that no model has.
    known = [n for n in (places, tokenizer.model_max_length) if n is not None and n < 10**9]
    return min(known) if known else None


def _explain(config: ClassifierJudge, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"judge.checkpoint={config.checkpoint} could not be loaded as judge.kind={config.kind}: "
        f"{first} Give a folder or hub id in transformers' own format with safetensors weights "
        "(custom code is never run)."
    )
