"""Tiny checkpoints that vLLM can load: folders with random weights, a processor and its settings.

The models of tiny_families have heads of 12 channels, and vLLM's attention on CPUs starts at 32.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_families import activate
from tiny_parts import LAYERS, SQUARE, decoder, new_tokenizer, qwen_of, template, tower

WIDTH, HEADS = 128, 4
SPREAD = 0.13
"""Standard deviation of the weights; less than in tiny_parts, for a wider residual stream."""


def save(family: str, folder: Path) -> None:
    """Write the checkpoint of ``family``, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(SEEDS[family])
        model, processor = {"llava": _llava, "qwen2_5_vl": _qwen2_5_vl}[family]()
        activate(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if family == "llava":
        _restore_names(folder / "model.safetensors")


def _restore_names(file: Path) -> None:
    """Name the vision tower's weights as published checkpoints do, and as vLLM expects them.

    transformers 5 reads both names and writes shorter ones.
    """
    weights = load_file(file)
    short, long = "vision_tower.", "vision_tower.vision_model."
    assert not any(name.startswith(long) for name in weights)
    save_file(
        {name.replace(short, long): weight for name, weight in weights.items()},
        file,
        metadata={"format": "pt"},
    )


SEEDS = {"llava": 1, "qwen2_5_vl": 27}


def _llava() -> tuple[Any, Any]:
    """LLaVA-1.5: a Llama decoder, whose blocks return the sum of the residual stream."""
    tokenizer = new_tokenizer({"image_token": "<image>"}, bos=True)
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", **decoder(tokenizer, **_TEXT)},
        vision_config=tower("clip_vision_model", hidden_size=64, initializer_range=SPREAD),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    processor = transformers.LlavaProcessor(
        transformers.LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size=SQUARE),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n", start="<bos>"),
    )
    return transformers.LlavaForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: rotary positions in three axes; larger pictures have more image tokens."""
    model, processor = qwen_of(
        transformers.Qwen2_5_VLConfig,
        transformers.Qwen2_5_VLForConditionalGeneration,
        transformers.Qwen2_5_VLProcessor,
        {
            "hidden_size": 64,
            "out_hidden_size": WIDTH,
            "intermediate_size": 128,
            "window_size": 32,
            "fullatt_block_indexes": [2],
            "initializer_range": SPREAD,
        },
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        **_TEXT,
    )
    # vLLM loads the whole processor, also the part for videos.
    images = processor.image_processor
    whole = transformers.Qwen2_5_VLProcessor(
        images,
        processor.tokenizer,
        transformers.Qwen2VLVideoProcessor(size=dict(images.size), patch_size=8),
        chat_template=processor.chat_template,
    )
    return model, whole


_TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "initializer_range": SPREAD,
}
