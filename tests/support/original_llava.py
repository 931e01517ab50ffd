"""Tiny checkpoints in the original LLaVA-1.5 format, made by the inverse of the conversion."""

import copy
import functools
import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_families import llava_of
from tiny_parts import tokenizer_with_picture_last

SPARE = 6
"""Rows of the skeleton's vocabulary after the image token's row."""


@functools.cache
def pair():
    """A fine-tuned model, its skeleton and processor.

    Both have the same vision tower and the same vocabulary rows from the image token on.
    """
    with torch.random.fork_rng():
        torch.manual_seed(3)
        skeleton, processor = llava_of(tokenizer_with_picture_last(), SPARE)
        tuned = copy.deepcopy(skeleton)
        rows = skeleton.config.image_token_id
        with torch.no_grad():
            for part in (tuned.model.language_model, tuned.model.multi_modal_projector):
                for weight in part.parameters():
                    weight.add_(torch.randn(weight.shape) * 0.1)
            tuned.lm_head.weight.add_(torch.randn(tuned.lm_head.weight.shape) * 0.1)
            for changed, unchanged in (
                (tuned.lm_head, skeleton.lm_head),
                (tuned.get_input_embeddings(), skeleton.get_input_embeddings()),
            ):
                changed.weight[rows:] = unchanged.weight[rows:]
    return tuned.eval(), skeleton.eval(), processor


@pytest.fixture
def skeleton(tmp_path):
    """The skeleton and its processor, saved as a checkpoint."""
    folder = tmp_path / "skeleton"
    for part in pair()[1:]:
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def source(tmp_path):
    """The fine-tuned model as a checkpoint in the original format."""
    return write(tmp_path / "source", original(pair()[0]))


def original(model):
    """A model's weights in the original format's names, without the vision tower."""
    rows, weights = model.config.image_token_id, {}
    decoder = model.model.language_model.state_dict()
    for name in ("embed_tokens.weight", "norm.weight", *(n for n in decoder if "layers." in n)):
        weights[f"model.{name}"] = decoder[name]
    for k in range(len(model.model.language_model.layers)):
        weights[f"model.layers.{k}.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    projector = model.model.multi_modal_projector
    for k, part in ((0, projector.linear_1), (2, projector.linear_2)):
        weights[f"model.mm_projector.{k}.weight"] = part.weight.data
        weights[f"model.mm_projector.{k}.bias"] = part.bias.data
    weights["lm_head.weight"] = model.lm_head.weight.data
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:rows]
    return {name: weight.clone() for name, weight in weights.items()}


def tower(model):
    """The vision tower's weights in the original format's names."""
    prefix = "model.vision_tower.vision_tower.vision_model."
    weights = {}
    for name, weight in model.state_dict().items():
        _, in_tower, short = name.partition(".vision_tower.")
        if in_tower:
            weights[prefix + short.removeprefix("vision_model.")] = weight.clone()
    return weights


CONFIG = {
    "model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "vocab_size": 32000,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False, "mm_use_im_patch_token": False, "mm_hidden_size": 1024,
    "image_aspect_ratio": "pad", "hidden_size": 48, "intermediate_size": 96,
    "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_scaling": None, "torch_dtype": "bfloat16",
    "max_position_embeddings": 1024,
}  # fmt: skip


def halves(weights):
    names = sorted(weights)
    return [{n: weights[n] for n in part} for part in (names[::2], names[1::2])]


def write(folder, weights, form="safetensors", **config):
    """Write a checkpoint in the original format: one file, or two with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    stem, end = ("pytorch_model", "bin") if "bin" in form else ("model", "safetensors")
    parts = halves(weights) if "sharded" in form else [weights]
    index = {}
    for k, part in enumerate(parts, 1):
        name = f"{stem}-{k:05d}-of-{len(parts):05d}.{end}" if len(parts) > 1 else f"{stem}.{end}"
        save = torch.save if end == "bin" else save_file
        save({n: w.contiguous() for n, w in part.items()}, folder / name)
        index |= dict.fromkeys(part, name)
    if len(parts) > 1:
        (folder / f"{stem}.{end}.index.json").write_text(
            json.dumps({"weight_map": index}), encoding="utf-8"
        )
    return folder
