"""Tiny models of recent families: hybrid decoders, mixtures of experts, and other prompts.

Qwen3.5 and LFM2-VL are hybrids: most of their blocks have linear attention or a convolution, whose
cache is a state instead of keys and values.
"""

from typing import Any

import numpy as np
import transformers
from tiny_parts import (
    QWEN3_TOWER,
    ROPE,
    SPREAD,
    SQUARE,
    WIDTH,
    decoder,
    new_tokenizer,
    qwen_of,
    template,
    tower,
)
from transformers.image_utils import SizeDict
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    Siglip2ImageProcessorKwargs,
    Siglip2ImageProcessorPil,
)

from calib.models.processor import image_only


def qwen3_5() -> tuple[Any, Any]:
    """Qwen3.5: linear attention, but for full attention in blocks 2 and 4."""
    return qwen_of(
        transformers.Qwen3_5Config,
        transformers.Qwen3_5ForConditionalGeneration,
        transformers.Qwen3VLProcessor,
        {
            "hidden_size": 32,
            "out_hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_position_embeddings": 64,
        },
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=12,
        linear_num_key_heads=2,
        linear_num_value_heads=6,
        layer_types=[
            "linear_attention", "linear_attention", "full_attention", "linear_attention",
            "full_attention",
        ],
        rope_parameters={**ROPE, "partial_rotary_factor": 0.75, "mrope_interleaved": True},
    )  # fmt: skip


def qwen3_vl_moe() -> tuple[Any, Any]:
    """Qwen3-VL with four experts in each block, two of them active."""
    return qwen_of(
        transformers.Qwen3VLMoeConfig,
        transformers.Qwen3VLMoeForConditionalGeneration,
        transformers.Qwen3VLProcessor,
        QWEN3_TOWER,
        head_dim=12,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        rope_parameters=ROPE,
    )


class _Lfm2VlSettings(Siglip2ImageProcessorKwargs, total=False):
    return_row_col_info: bool


class Lfm2VlImagesPil(Siglip2ImageProcessorPil):
    """One tile per image, with the outputs of LFM2-VL's own class, which needs torchvision."""

    valid_kwargs = _Lfm2VlSettings
    downsample_factor = 2
    use_thumbnail = False
    tile_size = 28
    encoder_patch_size = 7

    def _preprocess(self, images: Any, do_resize: bool, resample: Any, **settings: Any) -> Any:
        sizes = [(28, 56 if width > height else 28) for _, height, width in map(np.shape, images)]
        images = [
            self.resize(image, SizeDict(height=height, width=width), resample)
            for image, (height, width) in zip(images, sizes, strict=True)
        ]
        read = super()._preprocess(images, do_resize=False, resample=resample, **settings)
        shapes = [[7 * int(side) for side in shape] for shape in read["spatial_shapes"]]
        ones = [1] * len(shapes)
        read.update({"image_rows": ones, "image_cols": ones, "image_sizes": shapes})
        return read


# A saved checkpoint of the family then loads as another family's does.
IMAGE_PROCESSOR_MAPPING.register(transformers.Lfm2VlConfig, {"pil": Lfm2VlImagesPil}, exist_ok=True)


def lfm2_vl() -> tuple[Any, Any]:
    """LFM2-VL: a short convolution with biases, but for attention in blocks 2 and 4.

    The biases make a left-padded prompt differ from the same prompt alone.
    """
    tokenizer = new_tokenizer(
        {
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail_token": "<|img_thumbnail|>",
        },
        bos=True,
    )
    config = transformers.Lfm2VlConfig(
        text_config={
            "model_type": "lfm2",
            "conv_bias": True,
            "block_auto_adjust_ff_dim": False,
            "layer_types": ["conv", "conv", "full_attention", "conv", "full_attention"],
            **decoder(tokenizer),
        },
        vision_config={
            **tower("siglip2_vision_model", num_patches=16, vision_use_head=False),
        },
        image_token_id=tokenizer.image_token_id,
        projector_hidden_size=64,
        tie_word_embeddings=False,
    )
    processor = transformers.Lfm2VlProcessor(
        Lfm2VlImagesPil(patch_size=7, max_num_patches=32),
        tokenizer,
        chat_template=template("<image>", start="<bos>"),
    )
    return transformers.Lfm2VlForConditionalGeneration(config), processor


def aya_vision() -> tuple[Any, Any]:
    """Aya Vision: attention and MLP of a block read the same input."""
    tokenizer = new_tokenizer(
        {
            "image_token": "<image>",
            "start_of_img_token": "<|START_OF_IMG|>",
            "end_of_img_token": "<|END_OF_IMG|>",
            "img_patch_token": "<|IMG_PATCH|>",
        },
        "TILE_GLOBAL",
        "TILE",
        bos=True,
    )
    config = transformers.AyaVisionConfig(
        text_config={
            "model_type": "cohere2",
            "sliding_window": 20,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"] * 2,
            "logit_scale": 1.0,
            **decoder(tokenizer),
        },
        vision_config=tower("siglip_vision_model", vision_use_head=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
        tie_word_embeddings=False,
    )
    processor = transformers.AyaVisionProcessor(
        transformers.GotOcr2ImageProcessorPil(size=SQUARE),
        tokenizer,
        patch_size=7,
        img_size=28,
        downsample_factor=2,
        chat_template=template("<image>", start="<bos>"),
    )
    return transformers.AyaVisionForConditionalGeneration(config), processor


def glm4v() -> tuple[Any, Any]:
    """GLM-4.1V: norms after attention and MLP too, and multimodal rotary positions."""
    tokenizer = new_tokenizer(
        {
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "image_start_token": "<|begin_of_image|>",
            "image_end_token": "<|end_of_image|>",
            "video_start_token": "<|begin_of_video|>",
            "video_end_token": "<|end_of_video|>",
        }
    )
    config = transformers.Glm4vConfig(
        text_config=decoder(tokenizer, rope_parameters={**ROPE, "partial_rotary_factor": 1.0}),
        vision_config={
            "depth": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "out_hidden_size": WIDTH,
            "intermediate_size": 64,
            "image_size": 56,
            "patch_size": 7,
            "initializer_range": SPREAD,
        },
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        image_start_token_id=tokenizer.convert_tokens_to_ids("<|begin_of_image|>"),
        image_end_token_id=tokenizer.convert_tokens_to_ids("<|end_of_image|>"),
        video_start_token_id=tokenizer.convert_tokens_to_ids("<|begin_of_video|>"),
        video_end_token_id=tokenizer.convert_tokens_to_ids("<|end_of_video|>"),
    )
    processor = image_only(transformers.Glm4vProcessor)(
        transformers.Glm4vImageProcessorPil(
            size={"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 56 * 56}, patch_size=7
        ),
        tokenizer,
        chat_template=template("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    return transformers.Glm4vForConditionalGeneration(config), processor
