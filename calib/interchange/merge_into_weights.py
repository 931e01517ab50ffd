"""Merge a direction into a checkpoint's weights, for servers that cannot run hooks.

Adding a vector v to a block's output at every token equals adding it to the output of the block's
MLP, which is summed into the block's output: h + MLP(x) + v. So v can be stored exactly as the bias
of the MLP's last projection, if that projection has a bias and its output is added unchanged. Of
the decoders in vision-language models this holds for Llama's, whose config has ``mlp_bias``. Blocks
of Qwen2 and Mistral are Llama's with some biases left out, and with attention within a window if
one is set. Without a window they are stored as Llama, with zeros for those biases.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, LlamaConfig

from calib.directions.direction import Direction
from calib.models.layers import ActivationEdit, LayerSite, decoder_layers, edit_activations
from calib.models.load import VLM, source_of
from calib.util.errors import CalibError
from calib.util.files import home_expanded, unfinished_path

LLAMA_LIKE = ("llama", "qwen2", "mistral")
"""Model types of decoders whose blocks are Llama's, with some of its biases or none."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest logit difference that rounding explains, relative to the largest logit."""
PROBE = "What is in this picture? Answer in one short sentence, and then say why."
"""Prompt on which the merged checkpoint is compared with the edited model."""


@dataclasses.dataclass(frozen=True)
class MergedCheckpoint:
    """Comparison of a written checkpoint with the edited model on PROBE."""

    decoder: str
    """The original decoder's model type."""
    difference: float
    """Largest logit difference between the merged checkpoint and the edited model."""
    effect: float
    """Largest logit difference between the edited and the unedited model."""


def require_mergeable(vlm: VLM) -> str:
    """The decoder's model type. Raises CalibError if its weights cannot store the edit."""
    text = vlm.model.config.get_text_config(decoder=True)
    blocks: Any = decoder_layers(vlm.model)
    reason = None
    if text.model_type not in LLAMA_LIKE:
        reason = (
            f"a {text.model_type} block has no bias that is added to its output alone (only Llama, "
            "Qwen2 and Mistral decoders have or can get one)"
        )
    elif _attends_within_window(text):
        reason = f"its {text.model_type} decoder attends within a window, unlike Llama's"
    elif getattr(vlm.model.config, "quantization_config", None) is not None or any(
        type(block.mlp.down_proj) is not nn.Linear for block in blocks
    ):
        reason = "its weights are quantized"
    elif any(weight.device.type == "meta" for weight in vlm.model.parameters()):
        reason = "some of its weights are not in memory (use model.device_map=cpu)"
    if reason:
        raise CalibError(
            "unsupported",
            f"format=baked: the edit cannot be merged into {vlm.checkpoint}: {reason}. Use "
            "format=gguf with llama.cpp, format=easysteer with vLLM, or format=native with calib.",
        )
    return text.model_type


def merge_into_weights(vlm: VLM, direction: Direction, out: Path) -> MergedCheckpoint:
    """Write the model edited by an expressible ``direction`` as a checkpoint of its own.

    Changes the loaded model, which is unusable afterwards; the files of the original checkpoint
    stay unchanged. The written checkpoint is loaded again with from_pretrained and compared with
    the edited model on PROBE.

    Raises CalibError if the weights cannot store the edit, ``out`` is not empty, or the written
    checkpoint differs from the edited model. In the last case nothing is left at ``out``.
    """
    decoder = require_mergeable(vlm)
    if direction.strength == 0:
        raise CalibError(
            "invalid-setting",
            "format=baked: strength=0 changes nothing, so the checkpoint would be the original. "
            "Give strength=S.",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CalibError(
            "already-exists", f"out={out} exists and is not empty. Give a new folder: out=FOLDER."
        )
    vectors = {n: direction.at(n, direction.strength) for n in direction.layers}
    tokens = vlm.processor.tokenizer(PROBE, return_tensors="pt")["input_ids"].to(vlm.device)
    unedited = _logits(vlm.model, tokens)
    edited = _edited_logits(vlm.model, tokens, vectors)
    unfinished = unfinished_path(out)
    try:
        _merge(vlm.model, vectors)
        vlm.model.save_pretrained(unfinished)
        _copy_processor_files(vlm, unfinished)
        merged = _logits(_load_merged(vlm, unfinished), tokens)
        difference = float((merged - edited).abs().max())
        allowed = TOLERANCE.get(vlm.model.dtype, 0.0) * float(edited.abs().max())
        if not difference <= allowed:
            raise CalibError(
                "self-check",
                f"format=baked: the written checkpoint differs from the edited model by "
                f"{difference:.3g} in a logit, more than the {allowed:.3g} that rounding explains. "
                "It was deleted. Please report this with the name of the checkpoint, and use "
                "format=native.",
            )
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return MergedCheckpoint(decoder, difference, float((edited - unedited).abs().max()))


@torch.no_grad()
def _merge(model: Any, vectors: Mapping[int, torch.Tensor]) -> None:
    """Turn the decoder into a Llama with all biases, and add the vectors to them.

    Biases that the decoder lacks start at zero.
    """
    blocks: Any = decoder_layers(model)
    for layer, block in enumerate(blocks):
        attention, mlp = block.self_attn, block.mlp
        projections = [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        if attention.q_proj.bias is not None:  # Llama has one setting for all four
            projections += [attention.k_proj, attention.v_proj, attention.o_proj]
        for projection in projections:
            if projection.bias is None:
                zeros = projection.weight.new_zeros(projection.out_features)
                projection.bias = nn.Parameter(zeros, requires_grad=False)
        if layer in vectors:
            mlp.down_proj.bias += vectors[layer].to(mlp.down_proj.bias)
    attention_bias = blocks[0].self_attn.q_proj.bias is not None
    text = model.config.get_text_config(decoder=True)
    _replace_text_config(model.config, text, _llama_config(text, attention_bias))


def _llama_config(text: Any, attention_bias: bool) -> LlamaConfig:
    """The decoder's config as a Llama config with a bias in every MLP."""
    known = LlamaConfig().to_dict()
    shared = {k: v for k, v in text.to_dict().items() if k in known and k != "model_type"}
    shared |= {"attention_bias": attention_bias, "mlp_bias": True}
    config = LlamaConfig(**shared)
    config.architectures = ["LlamaForCausalLM"]
    return config


def _replace_text_config(config: Any, old: Any, new: Any) -> None:
    for name, value in vars(config).items():
        if value is old:
            setattr(config, name, new)
            return
    raise CalibError(
        "unsupported", "format=baked: the model's config has no separate part for its decoder."
    )


def _attends_within_window(text: Any) -> bool:
    """Whether some block attends only to the most recent tokens."""
    kinds = getattr(text, "layer_types", None) or ["full_attention"]
    window = getattr(text, "sliding_window", None)
    limited = text.model_type == "mistral" and window is not None
    return any(kind != "full_attention" for kind in kinds) or (
        limited and window < text.max_position_embeddings
    )


@torch.no_grad()
def _logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    return model(input_ids=tokens).logits.float().cpu()


def _edited_logits(
    model: Any, tokens: torch.Tensor, vectors: Mapping[int, torch.Tensor]
) -> torch.Tensor:
    def add(vector: torch.Tensor) -> Any:
        return lambda hidden: hidden + vector.to(hidden)

    edits: dict[LayerSite, ActivationEdit] = {
        (layer, "residual"): add(vector) for layer, vector in vectors.items()
    }
    with edit_activations(model, edits):
        return _logits(model, tokens)


def _load_merged(vlm: VLM, folder: Path) -> Any:
    model = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=vlm.model.dtype,
        device_map=str(vlm.device),
        attn_implementation=vlm.model.config._attn_implementation,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return model.eval()


def _copy_processor_files(vlm: VLM, folder: Path) -> None:
    """Copy the original checkpoint's tokenizer and processor files.

    Files saved from the loaded processor would lack the video settings, which calib does not load,
    and other programs would reject them.
    """
    existing = {path.name for path in folder.iterdir()}
    for path in sorted(_original_folder(vlm).iterdir()):
        copied = path.suffix in (".json", ".jinja", ".txt", ".model")
        if copied and path.name not in existing and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)


def _original_folder(vlm: VLM) -> Path:
    """Folder with the checkpoint's small files; for a hub id the hub's cache."""
    local = home_expanded(source_of(vlm.checkpoint))
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download

    try:
        kinds = ["*.json", "*.jinja", "*.txt", "*.model"]
        return Path(snapshot_download(vlm.checkpoint, revision=vlm.revision, allow_patterns=kinds))
    except Exception as error:  # a refusal, no network or no cache, each with its own type
        raise CalibError(
            "endpoint",
            f"format=baked: the tokenizer and processor files of {vlm.checkpoint} could not be "
            f"downloaded ({type(error).__name__}). Give a local copy with model.checkpoint=FOLDER.",
        ) from error
