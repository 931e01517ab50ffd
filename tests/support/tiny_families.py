"""Tiny models with random weights, one for each supported family, built without files.

Their responses are meaningless, but differ between prompts and images, which is enough to compare
two ways of running the same rows.
"""

import functools
import importlib.util
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from PIL import Image, ImageDraw
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
from tiny_recent_families import aya_vision, glm4v, lfm2_vl, qwen3_5, qwen3_vl_moe
from transformers import PreTrainedTokenizerFast

from calib.data.example import Example
from calib.models.load import VLM, fingerprint
from calib.models.processor import image_only

ENDS = ("e", "o", "R", "%", "u", "L", "4", "?")
"""Ordinary tokens that end a response, so that responses differ in length."""


@functools.cache
def tiny(family: str) -> VLM:
    """The tiny model of a family; the same object each time."""
    build, seed = _BUILDERS[family]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = build()
        activate(model, processor)
    return VLM(
        name=family,
        checkpoint=f"tiny-{family}",
        revision=None,
        model=model,
        processor=processor,
        fingerprint=fingerprint(model, processor),
        width=model.config.get_text_config(decoder=True).hidden_size,
        tiles=False,
    )


@torch.no_grad()
def activate(model: Any, processor: Any) -> None:
    """Make every part of the model count, and end responses at one of ENDS."""
    model.eval()
    for weight in model.parameters():
        # Gates and projections that are initialised to zero would disable their part of the model.
        if not weight.any() and weight.numel() == 1:
            weight.fill_(0.5)
        elif not weight.any():
            weight.normal_(std=SPREAD)
    tokenizer = processor.tokenizer
    head = model.get_output_embeddings().weight  # [vocabulary, width]
    assert head is not model.get_input_embeddings().weight
    # Never generated: an image placeholder in a response would be read as an image.
    added = [i for i in tokenizer.get_added_vocab().values() if i < len(head)]
    head[added] = 0.0
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ENDS]
    assert None not in ends and tokenizer.unk_token_id not in ends
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = tokenizer.pad_token_id


_PINPOINTS = [[28, 56], [56, 28], [56, 56]]


# --- families


def _internvl() -> tuple[Any, Any]:
    tokenizer = new_tokenizer(
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    )
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **decoder(tokenizer)},
        vision_config=tower("internvl_vision", layer_scale_init_value=1.0),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = image_only(transformers.InternVLProcessor)(
        transformers.GotOcr2ImageProcessorPil(size=SQUARE),
        tokenizer,
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>\n"),
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def _llava() -> tuple[Any, Any]:
    return llava_of(new_tokenizer({"image_token": "<image>"}, bos=True))


def llava_of(tokenizer: PreTrainedTokenizerFast, rows: int = 0) -> tuple[Any, Any]:
    """LLaVA-1.5 with ``rows`` more embeddings than the tokenizer has tokens."""
    config = transformers.LlavaConfig(
        text_config={
            "model_type": "llama",
            **decoder(tokenizer, vocab_size=len(tokenizer) + rows),
        },
        vision_config=tower("clip_vision_model"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = transformers.LlavaProcessor(
        transformers.LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size=SQUARE),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" drops
        chat_template=template("<image>\n", start="<bos>"),
    )
    return transformers.LlavaForConditionalGeneration(config), processor


def _llava_next() -> tuple[Any, Any]:
    tokenizer = new_tokenizer({"image_token": "<image>"}, bos=True)
    config = transformers.LlavaNextConfig(
        text_config={"model_type": "mistral", "sliding_window": None, **decoder(tokenizer)},
        vision_config=tower("clip_vision_model", patch_size=14),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=_PINPOINTS,
        image_seq_length=4,
    )
    processor = transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessorPil(
            size={"shortest_edge": 28}, crop_size=SQUARE, image_grid_pinpoints=_PINPOINTS
        ),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n", start="<bos>"),
    )
    return transformers.LlavaNextForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    tokenizer = new_tokenizer({"image_token": "<image>", "video_token": "<video>"})
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **decoder(tokenizer)},
        vision_config=tower("siglip_vision_model", patch_size=14, vision_use_head=False),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=_PINPOINTS,
    )
    processor = image_only(transformers.LlavaOnevisionProcessor)(
        transformers.LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=_PINPOINTS),
        tokenizer,
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template("<image>\n"),
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    return qwen_of(
        transformers.Qwen2VLConfig,
        transformers.Qwen2VLForConditionalGeneration,
        transformers.Qwen2VLProcessor,
        # In this config, "hidden_size" is the output width and "embed_dim" the internal width.
        {"embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2},
        rope_parameters=ROPE,
    )


def _qwen2_5_vl() -> tuple[Any, Any]:
    return qwen_of(
        transformers.Qwen2_5_VLConfig,
        transformers.Qwen2_5_VLForConditionalGeneration,
        transformers.Qwen2_5_VLProcessor,
        {
            "hidden_size": 32,
            "out_hidden_size": WIDTH,
            "intermediate_size": 64,
            "window_size": 32,
            "fullatt_block_indexes": [2],
        },
        rope_parameters=ROPE,
    )


def _qwen3_vl() -> tuple[Any, Any]:
    return qwen_of(
        transformers.Qwen3VLConfig,
        transformers.Qwen3VLForConditionalGeneration,
        transformers.Qwen3VLProcessor,
        QWEN3_TOWER,
        head_dim=12,
        rope_parameters=ROPE,
    )


def _gemma3() -> tuple[Any, Any]:
    tokenizer = new_tokenizer(
        {
            "boi_token": "<start_of_image>",
            "image_token": "<image_soft_token>",
            "eoi_token": "<end_of_image>",
        },
        bos=True,
    )
    sliding, full = "sliding_attention", "full_attention"
    config = transformers.Gemma3Config(
        text_config=decoder(
            tokenizer,
            head_dim=16,
            query_pre_attn_scalar=2,  # sharp: random normalised queries and keys would average out
            sliding_window=10,
            layer_types=[sliding, full, sliding, sliding, full],
        ),
        vision_config=tower("siglip_vision_model", vision_use_head=False),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        initializer_range=SPREAD,
        tie_word_embeddings=False,
    )
    processor = transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessorPil(size=SQUARE),
        tokenizer,
        image_seq_length=4,
        chat_template=template("<start_of_image>", start="<bos>"),
    )
    return transformers.Gemma3ForConditionalGeneration(config), processor


def _idefics3() -> tuple[Any, Any]:
    # Images are split into tiles here, but not in SmolVLM.
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    return _idefics(
        transformers.Idefics3Config,
        transformers.Idefics3ForConditionalGeneration,
        transformers.Idefics3Processor,
        images,
    )


def _smolvlm() -> tuple[Any, Any]:
    processor = image_only(transformers.SmolVLMProcessor)
    images = transformers.SmolVLMImageProcessorPil(
        size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
    )
    return _idefics(
        transformers.SmolVLMConfig,
        transformers.SmolVLMForConditionalGeneration,
        lambda images, tokenizer, **kwargs: processor(images, tokenizer, None, **kwargs),
        images,
    )


def _idefics(
    config_class: Any, model_class: Any, processor_class: Any, images: Any
) -> tuple[Any, Any]:
    tokenizer = new_tokenizer(
        {
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "end_of_utterance_token": "<end_of_utterance>",
            "global_image_token": "<global-img>",
        },
        *(f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)),
        bos=True,
    )
    config = config_class(
        text_config={"model_type": "llama", **decoder(tokenizer)},
        vision_config={k: v for k, v in tower("").items() if k != "model_type"},
        image_token_id=tokenizer.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )
    processor = processor_class(
        images, tokenizer, image_seq_len=4, chat_template=template("<image>", start="<bos>")
    )
    return model_class(config), processor


def _paligemma() -> tuple[Any, Any]:
    tokenizer = new_tokenizer({"image_token": "<image>"}, bos=True)
    images = transformers.SiglipImageProcessorPil(size=SQUARE)
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(
        images, tokenizer, chat_template=template("<image>")
    )
    # After the processor, which adds a thousand location and segmentation tokens.
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma", "head_dim": 16, **decoder(tokenizer)},
        vision_config=tower("siglip_vision_model", vision_use_head=False),
        image_token_index=tokenizer.image_token_id,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
        tie_word_embeddings=False,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def _mistral3() -> tuple[Any, Any]:
    tokenizer = new_tokenizer(
        {
            "image_token": "[IMG]",
            "image_break_token": "[IMG_BREAK]",
            "image_end_token": "[IMG_END]",
        },
        bos=True,
    )
    config = transformers.Mistral3Config(
        text_config={"model_type": "mistral", "head_dim": 12, **decoder(tokenizer)},
        vision_config=tower("pixtral", image_size=56),
        image_token_index=tokenizer.image_token_id,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    processor = _pixtral_processor()(
        transformers.PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size=7),
        tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=template("[IMG]", start="<bos>"),
    )
    return transformers.Mistral3ForConditionalGeneration(config), processor


def _pixtral_processor() -> Any:
    from transformers.models.pixtral import image_processing_pil_pixtral as pil

    if importlib.util.find_spec("torchvision") is None:
        # The processor imports a function from a module that needs torchvision; a module that does
        # not need it has the same function.
        sys.modules.setdefault("transformers.models.pixtral.image_processing_pixtral", pil)
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor

    return PixtralProcessor


def _mllama() -> tuple[Any, Any]:
    tokenizer = new_tokenizer({}, "<|python_tag|>", bos=True)
    vocabulary = len(tokenizer)
    # As published: the image token has an embedding, but no logit.
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|image|>"]})
    config = transformers.MllamaConfig(
        text_config=decoder(tokenizer, vocab_size=vocabulary, cross_attention_layers=[1, 3]),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "max_num_tiles": 2,
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "intermediate_layers_indices": [0],
            "vision_output_dim": 64,
            "initializer_range": SPREAD,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    processor = transformers.MllamaProcessor(
        transformers.MllamaImageProcessorPil(size=SQUARE, max_image_tiles=2),
        tokenizer,
        chat_template=template("<|image|>", start="<bos>"),
    )
    return transformers.MllamaForConditionalGeneration(config), processor


_BUILDERS: dict[str, tuple[Callable[[], tuple[Any, Any]], int]] = {
    "internvl": (_internvl, 5),
    "llava": (_llava, 1),
    "llava_next": (_llava_next, 17),
    "llava_onevision": (_llava_onevision, 1),
    "qwen2_vl": (_qwen2_vl, 41),
    "qwen2_5_vl": (_qwen2_5_vl, 27),
    "qwen3_vl": (_qwen3_vl, 58),
    "gemma3": (_gemma3, 26),
    "idefics3": (_idefics3, 15),
    "smolvlm": (_smolvlm, 27),
    "paligemma": (_paligemma, 30),
    "mistral3": (_mistral3, 11),
    "mllama": (_mllama, 23),
    "qwen3_5": (qwen3_5, 7),
    "lfm2_vl": (lfm2_vl, 5),
    "qwen3_vl_moe": (qwen3_vl_moe, 3),
    "aya_vision": (aya_vision, 1),
    "glm4v": (glm4v, 1),
}
"""Builder of each family, and a seed of its weights for which response lengths vary."""

FAMILIES = tuple(_BUILDERS)
families = pytest.mark.parametrize("family", FAMILIES, scope="module")
"""All tests of one family after each other: what they share is made once, also where the tests of a
file run in several processes."""
HYBRIDS = ("qwen3_5", "lfm2_vl")
"""Families with attention in blocks 2 and 4 only; the others have a state instead of a cache."""
NEEDS_PICTURE = ("paligemma",)
"""Families whose processor requires an image in every prompt."""


# --- examples

_QUERIES = (
    "what is it?",
    "how many red circles are there in the picture, and where?",
    "tell me the colour",
    "is there a sign with an arrow in the upper left corner, or is it a square?",
    "explain how to build it",
    "what is the capital of the country with the longest coast? answer in one word.",
    "who made this?",
    "compare the two shapes and say which is larger.",
    "why?",
    "read the sign aloud, then tell me what is wrong with it.",
)


def examples(n: int = 6) -> list[Example]:
    """Short and long queries, every third without an image."""
    return [
        Example(
            id=f"tiny/{i}",
            dataset="utility",
            variant="drawn",
            category="any",
            split="test",
            query=_QUERIES[i % len(_QUERIES)] + "!" * (i // len(_QUERIES)),
            picture=None if i % 3 == 2 else functools.partial(picture, i),
        )
        for i in range(n)
    ]


def picture(seed: int) -> Image.Image:
    """Coloured rectangles on a coloured background; images have several sizes."""
    draw = random.Random(seed)
    size = draw.choice([(56, 56), (56, 28), (28, 56), (40, 40)])
    image = Image.new("RGB", size, _colour(draw))
    canvas = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = draw.randrange(size[0] - 8), draw.randrange(size[1] - 8)
        canvas.rectangle(
            (x, y, x + draw.randrange(8, 28), y + draw.randrange(8, 28)), _colour(draw)
        )
    return image


def _colour(draw: random.Random) -> tuple[int, int, int]:
    return (draw.randrange(256), draw.randrange(256), draw.randrange(256))
