"""The vision-language model of our tower and a language model, untrained, and its processor."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from calib.models.processor import image_only
from calib.models.towers import register_towers
from calib.models.towers.naming import NamingTowerConfig
from experiments.smolvlm_emoji.recipe import SHARPNESS
from experiments.smolvlm_emoji.text import CHAT_TEMPLATE, END, IMAGE, PAD
from experiments.smolvlm_emoji.tower import MEAN, STD
from experiments.smolvlm_emoji.words import PLACES, embed_pieces, name_pieces

NETWORK: dict[str, Any] = {}
"""Sizes of the tower's network, where they differ from EfficientNet-Lite0's."""


def vision_language_model(
    language: Any, tokenizer: PreTrainedTokenizerFast, names: Sequence[str]
) -> LlavaForConditionalGeneration:
    """LLaVA's class with a language model's own weights and a random tower.

    ``names`` are those that the tower knows.
    """
    register_towers()
    settings = language.config.to_dict()
    for name in ("_name_or_path", "_model_name_or_path", "quantization_config"):
        settings.pop(name, None)
    pieces, ids = name_pieces(names, tokenizer)
    tower = NamingTowerConfig(
        pieces=pieces, hidden_size=len(ids), sharpness=SHARPNESS, network=NETWORK
    )
    config = LlavaConfig(
        text_config=settings,
        vision_config=tower.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PLACES,
        projector_hidden_act="linear",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.model.language_model.load_state_dict(language.model.state_dict())
    embed_pieces(model.model.multi_modal_projector, language.model.embed_tokens.weight, ids)
    ends = {name: tokenizer.convert_tokens_to_ids(t) for name, t in (("eos", END), ("pad", PAD))}
    model.generation_config = GenerationConfig(
        eos_token_id=ends["eos"], pad_token_id=ends["pad"], do_sample=False
    )
    return model


def build_processor(tokenizer: PreTrainedTokenizerFast, image_size: int) -> LlavaProcessor:
    """LLaVA's processor: each picture is resized to a square, and normalised for the tower."""
    size = {"height": image_size, "width": image_size}
    images = CLIPImageProcessorPil(
        size=size, crop_size=size, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD)
    )
    return image_only(LlavaProcessor)(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=image_size,
        num_additional_image_tokens=PLACES - 1,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
