"""Load a classifier or guard model from a folder or the hub: safetensors only, complete weights."""

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    logging,
)

from calib.config.judge import ClassifierJudge
from calib.models.checkpoints.size import require_few_blocks, require_plausible_size
from calib.models.load import default_device, fingerprint, forget_attention
from calib.models.template_bounds import require_no_power
from calib.util.errors import CalibError, first_line

_CLASSES = {"generative": AutoModelForCausalLM, "sequence": AutoModelForSequenceClassification}


@dataclass(frozen=True)
class ClassifierModel:
    """A loaded classifier or guard with its tokenizer."""

    model: Any
    tokenizer: Any
    pad: int
    """Token id that pads shorter rows; always masked."""
    limit: int | None
    """Maximum number of tokens, prompt and generated together; None if the checkpoint states no
    limit."""

    @property
    def fingerprint(self) -> str:
        """Hash of config, sampled weights, tokenizer, chat template and generation settings
        (max_new_tokens included)."""
        template = getattr(self.tokenizer, "chat_template", None)
        return fingerprint(
            self.model, SimpleNamespace(tokenizer=self.tokenizer, chat_template=template)
        )


def load_classifier(config: ClassifierJudge) -> ClassifierModel:
    """Load the configured model in evaluation mode, with greedy decoding.

    Raises CalibError if the checkpoint does not exist, is of another kind, has pickled weights
    only, or lacks weights (transformers would initialise them randomly).
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    common = {"revision": config.revision, "trust_remote_code": False}
    try:
        source = os.path.expanduser(str(config.checkpoint))  # noqa: PTH111
        named = f"judge.checkpoint={config.checkpoint}"
        files, _ = PreTrainedConfig.get_config_dict(source, **common)
        require_few_blocks(named, files)
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        require_no_power(tokenizer.chat_template)
        kind, settings = _CLASSES[config.kind], AutoConfig.from_pretrained(source, **common)
        forget_attention(settings)
        require_plausible_size(named, source, settings, kind.from_config, common)
        model, info = kind.from_pretrained(
            source,
            **common,
            config=settings,
            dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
            device_map=config.device_map or default_device(),
            use_safetensors=True,
            output_loading_info=True,
        )
    except (CalibError, MemoryError):
        raise
    except Exception as error:  # a damaged checkpoint can raise any exception
        raise CalibError("unreadable", _load_failure(config, error)) from error
    absent = sorted(info["missing_keys"])
    if absent:
        raise CalibError(
            "invalid-content",
            f"judge.checkpoint={config.checkpoint} lacks {len(absent)} weights (first: "
            f"{absent[0]}), which would be initialised randomly. Get a complete copy, and check "
            f"that it is a model of judge.kind={config.kind}.",
        )
    model.eval()
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    # A decoder with a classification head reads the last token that is not padding.
    model.config.pad_token_id = pad
    model.generation_config = _greedy(model, tokenizer, config.max_new_tokens, pad)
    return ClassifierModel(model, tokenizer, pad, _token_limit(model, tokenizer))


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int, pad: int) -> GenerationConfig:
    """Replace the checkpoint's generation settings, which may sample or penalise tokens.

    Its end-of-sequence tokens are kept.
    """
    stored = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    eos = tokenizer.eos_token_id if stored is None else stored
    return GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=eos, pad_token_id=pad
    )


def _token_limit(model: Any, tokenizer: Any) -> int | None:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if positions is not None and padding is not None:  # RoBERTa's positions start after padding_idx
        positions -= padding + 1
    # A tokenizer without a limit reports an astronomical model_max_length.
    limits = [n for n in (positions, tokenizer.model_max_length) if n is not None and n < 10**9]
    return min(limits) if limits else None


def _load_failure(config: ClassifierJudge, error: Exception) -> str:
    return (
        f"judge.checkpoint={config.checkpoint} could not be loaded as judge.kind={config.kind}: "
        f"{first_line(error)} Give a folder or hub id in transformers format with safetensors "
        "weights (custom code is never run)."
    )
