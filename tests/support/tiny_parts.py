"""Parts of the tiny models: tokenizers, chat templates, and configs of decoders and towers."""

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from calib.models.processor import image_only

WIDTH = 48
"""Width of the residual stream."""
LAYERS = 5
SPREAD = 0.22
"""Standard deviation of the weights; with the usual 0.02, every response repeats one token."""

ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
"""Multimodal rotary positions, of Qwen's and GLM's decoders."""
QWEN3_TOWER = {
    "hidden_size": 32,
    "out_hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1],
}
"""Vision config of Qwen3-VL, for qwen_of."""

_TEXT = (
    "what is the shape in this picture? how many are there? tell me the colour of the sign and "
    "where it is. is there an arrow or a circle in the corner? explain it to me."
)


def new_tokenizer(
    named: dict[str, str], *others: str, bos: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE over printable ASCII and a few merges; ``named`` become attributes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<pad>", "<eos>", *(["<bos>"] if bos else []), *named.values(), *others]
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 140,
        special_tokens=special,
        initial_alphabet=[chr(i) for i in range(33, 127)] + ["Ġ", "Ċ"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>" if bos else None,
        extra_special_tokens={**named, **{f"other_{i}": token for i, token in enumerate(others)}},
        padding_side="left",
    )


def tokenizer_with_picture_last() -> PreTrainedTokenizerFast:
    """As in the LLaVA-1.5 checkpoints: <image> follows the vocabulary of the text model."""
    tokenizer = new_tokenizer({}, bos=True)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    return tokenizer


def template(image: str, start: str = "") -> str:
    """A chat template with ``image`` as the placeholder of an image."""
    return (
        start + "{% for message in messages %}[{{ message['role'] }}] "
        "{% for item in message['content'] %}"
        "{% if item['type'] == 'image' %}" + image + "{% else %}{{ item['text'] }}{% endif %}"
        "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    )


def decoder(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> dict[str, Any]:
    """A decoder with five layers, four attention heads and two key-value heads."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": SPREAD,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **changes,
    }


def tower(model_type: str, **changes: Any) -> dict[str, Any]:
    """A vision tower with two layers, for images of 28 x 28 pixels in patches of 7 x 7."""
    return {
        "model_type": model_type,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
        "initializer_range": SPREAD,
        **changes,
    }


SQUARE = {"height": 28, "width": 28}


def qwen_of(
    config_class: Any, model_class: Any, processor_class: Any, vision: dict[str, Any], **text: Any
) -> tuple[Any, Any]:
    """A Qwen-VL model of these classes, and its processor."""
    tokenizer = new_tokenizer(
        {
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        }
    )
    config = config_class(
        text_config=decoder(tokenizer, **text),
        vision_config={
            "depth": 3,
            "num_heads": 2,
            "patch_size": 8,
            "initializer_range": SPREAD,
            **vision,
        },
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.vision_start_token_id,
        vision_end_token_id=tokenizer.vision_end_token_id,
    )
    processor = image_only(processor_class)(
        transformers.Qwen2VLImageProcessorPil(
            size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, patch_size=8
        ),
        tokenizer,
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return model_class(config), processor
