"""A checkpoint that carries the edit in its own weights, for servers that can run no hook.

Adding v to a block's output at every token is adding it to what the block's MLP gives, which is
summed into that output: h + MLP(x) + v. So v has an exact place where the MLP's last projection has
a bias and nothing stands between it and the sum. Among decoders of vision-language models that is
Llama's, whose config has ``mlp_bias``. Qwen2's and Mistral's blocks are Llama's with some biases
left out (and, where a window is set, attention within it), so without a window they are stored as
Llama, with zeros for those.
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
from calib.models.layers import decoder_layers, edit_activations
from calib.models.load import MINI, VLM, mini_folder
from calib.util.errors import CalibError

AS_LLAMA = ("llama", "qwen2", "mistral")
"""Model types of decoders whose blocks are Llama's, with some of its biases or none."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest difference of a logit, as a share of the largest logit, that rounding explains."""
PROBE = "What is in this picture? Answer in one short sentence, and then say why."


@dataclasses.dataclass(frozen=True)
class Baked:
    """What was written, and how close it came."""

    decoder: str
    """The decoder's model type before."""
    difference: float
    """Largest difference of a logit between the checkpoint and the edited model, on PROBE."""
    moved: float
    """The same between the edited model and the unedited one."""


def require_place(vlm: VLM) -> str:
    """The decoder's model type. Raises CalibError when its weights have no place for the edit."""
    text = vlm.model.config.get_text_config(decoder=True)
    blocks: Any = decoder_layers(vlm.model)
    reason = None
    if text.model_type not in AS_LLAMA:
        reason = (
            f"a {text.model_type} block has no bias that is added to its output alone (only Llama, "
            "Qwen2 and Mistral decoders have a place for one)"
        )
    elif _window(text):
        reason = f"its {text.model_type} decoder attends within a window, which Llama's does not"
    elif getattr(vlm.model.config, "quantization_config", None) is not None or any(
        type(block.mlp.down_proj) is not nn.Linear for block in blocks
    ):
        reason = "its weights are quantized"
    elif any(weight.device.type == "meta" for weight in vlm.model.parameters()):
        reason = "some of its weights are not in memory (give model.device_map=cpu)"
    if reason:
        raise CalibError(
            f"format=baked: {vlm.checkpoint} cannot carry the edit: {reason}. Use format=gguf with "
            "llama.cpp, format=easysteer with vLLM, or calib itself with format=native."
        )
    return text.model_type


def bake(vlm: VLM, direction: Direction, out: Path) -> Baked:
    """Write the edited model as a checkpoint of its own; ``direction`` is expressible.

    The loaded model is changed in place and of no use afterwards; the checkpoint it came from is
    not touched. What was written is loaded again, plainly, and compared on one prompt.

    Raises CalibError when the weights have no place for the edit, the folder is not empty, or the
    written checkpoint does not answer like the edited model (nothing is left there then).
    """
    decoder = require_place(vlm)
    if direction.strength == 0:
        raise CalibError(
            "format=baked: strength 0 changes nothing, so the checkpoint would be the original. "
            "Give strength=S."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CalibError(f"out={out} exists and is not empty. Give a new folder with out=FOLDER.")
    vectors = {n: direction.at(n, direction.strength) for n in direction.layers}
    tokens = vlm.processor.tokenizer(PROBE, return_tensors="pt")["input_ids"].to(vlm.device)
    plain = _logits(vlm.model, tokens)
    steered = _steered_logits(vlm.model, tokens, vectors)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _carry(vlm.model, vectors)
        vlm.model.save_pretrained(unfinished)
        _save_processor(vlm, unfinished)
        again = _logits(_load_again(vlm, unfinished), tokens)
        difference = float((again - steered).abs().max())
        allowed = TOLERANCE.get(vlm.model.dtype, 0.0) * float(steered.abs().max())
        if not difference <= allowed:
            raise CalibError(
                f"format=baked: the written checkpoint does not answer like the edited model (a "
                f"logit differs by {difference:.3g}, rounding explains {allowed:.3g}), so it was "
                "not kept. Please report this with the name of the checkpoint; format=native works."
            )
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Baked(decoder, difference, float((steered - plain).abs().max()))


@torch.no_grad()
def _carry(model: Any, vectors: Mapping[int, torch.Tensor]) -> None:
    """Make the decoder one of Llama with all its biases, zero where they were not, plus these."""
    blocks: Any = decoder_layers(model)
    for number, block in enumerate(blocks):
        attention, mlp = block.self_attn, block.mlp
        projections = [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        if attention.q_proj.bias is not None:  # one setting for all four
            projections += [attention.k_proj, attention.v_proj, attention.o_proj]
        for projection in projections:
            if projection.bias is None:
                zeros = projection.weight.new_zeros(projection.out_features)
                projection.bias = nn.Parameter(zeros, requires_grad=False)
        if number in vectors:
            mlp.down_proj.bias += vectors[number].to(mlp.down_proj.bias)
    attention_bias = blocks[0].self_attn.q_proj.bias is not None
    text = model.config.get_text_config(decoder=True)
    _replace_text_config(model.config, text, _llama(text, attention_bias))


def _llama(text: Any, attention_bias: bool) -> LlamaConfig:
    """The config of the Llama decoder that this one is, with a bias in every MLP."""
    known = LlamaConfig().to_dict()
    kept = {k: v for k, v in text.to_dict().items() if k in known and k != "model_type"}
    kept |= {"attention_bias": attention_bias, "mlp_bias": True}
    config = LlamaConfig(**kept)
    config.architectures = ["LlamaForCausalLM"]
    return config


def _replace_text_config(config: Any, old: Any, new: Any) -> None:
    for name, value in vars(config).items():
        if value is old:
            setattr(config, name, new)
            return
    raise CalibError("format=baked: this model's config has no part for its decoder.")


def _window(text: Any) -> bool:
    """Whether some block attends to the last tokens only."""
    kinds = getattr(text, "layer_types", None) or ["full_attention"]
    window = getattr(text, "sliding_window", None)
    limited = text.model_type == "mistral" and window is not None
    return any(kind != "full_attention" for kind in kinds) or (
        limited and window < text.max_position_embeddings
    )


@torch.no_grad()
def _logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    return model(input_ids=tokens).logits.float().cpu()


def _steered_logits(
    model: Any, tokens: torch.Tensor, vectors: Mapping[int, torch.Tensor]
) -> torch.Tensor:
    def add(vector: torch.Tensor) -> Any:
        return lambda hidden: hidden + vector.to(hidden)

    with edit_activations(model, {(n, "residual"): add(vector) for n, vector in vectors.items()}):
        return _logits(model, tokens)


def _load_again(vlm: VLM, folder: Path) -> Any:
    model = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=vlm.model.dtype,
        device_map=str(vlm.device),
        attn_implementation=vlm.model.config._attn_implementation,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return model.eval()


def _save_processor(vlm: VLM, folder: Path) -> None:
    """The processor's files: those of the original checkpoint as they are.

    Saved by us they would lack what calib does not load (video), and other programs would refuse
    them.
    """
    made = {path.name for path in folder.iterdir()}
    for path in sorted(_original(vlm).iterdir()):
        known = path.suffix in (".json", ".jinja", ".txt", ".model")
        if known and path.name not in made and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)


def _original(vlm: VLM) -> Path:
    """Folder with the small files of the checkpoint, for a hub id that of the hub's cache."""
    if vlm.checkpoint == MINI:
        return mini_folder()
    local = Path(vlm.checkpoint)
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download

    try:
        kinds = ["*.json", "*.jinja", "*.txt", "*.model"]
        return Path(snapshot_download(vlm.checkpoint, revision=vlm.revision, allow_patterns=kinds))
    except Exception as error:  # a refusal, no network, no cache: all of different kinds
        raise CalibError(
            f"format=baked: the tokenizer's and processor's files of {vlm.checkpoint} cannot be "
            f"had ({type(error).__name__}). Give a local copy with model.checkpoint=FOLDER."
        ) from error
