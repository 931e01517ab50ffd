"""InternVL of any shape with random weights, built without files: realistic work only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import InternVLForConditionalGeneration, PreTrainedTokenizerFast

from calib.models.load import VLM, fingerprint
from calib.models.processor import image_only

NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ item['text'] }}{% endif %}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes that determine the work of a model."""

    text: dict[str, Any]
    """Settings of the Qwen2 decoder."""
    vision: dict[str, Any]
    """Settings of the vision tower."""
    pixels: int
    """Width and height of an image; it becomes (pixels / patch)^2 / 4 tokens."""
    patch: int
    spread: float = 0.02
    """Standard deviation of the weights."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further settings of the decoder, such as a vocabulary larger than the tokenizer's."""

    @property
    def image_tokens(self) -> int:
        return (self.pixels // self.patch) ** 2 // 4


LONG = Shape(
    text={
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    vision={
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
    },
    pixels=256,
    patch=8,
    spread=0.25,  # with the usual 0.02, every response repeats one token
)


def random_internvl(
    name: str,
    shape: Shape,
    sentences: Sequence[str],
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> VLM:
    """A model with its processor; the weights are the same on each device of one kind.

    The words of ``sentences`` become tokens, so that queries have realistic lengths.
    """
    tokenizer = new_tokenizer(sentences, NAMED)
    config = transformers.InternVLConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "initializer_range": shape.spread,
            **shape.text,
            **shape.extra,
        },
        vision_config={
            "model_type": "internvl_vision",
            "image_size": shape.pixels,
            "patch_size": shape.patch,
            "initializer_range": shape.spread,
            **shape.vision,
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=shape.image_tokens,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = InternVLForConditionalGeneration._from_config(config, dtype=dtype)
    model.eval()
    with torch.no_grad():
        # Special tokens are never generated: an end token would shorten the work.
        model.get_output_embeddings().weight[: len(tokenizer.all_special_ids)] = 0.0
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = _processor(tokenizer, shape)
    return VLM(
        name=name,
        checkpoint=name,
        revision=None,
        model=model,
        processor=processor,
        fingerprint=fingerprint(model, processor),
        width=model.config.text_config.hidden_size,
        tiles=False,
    )


def new_tokenizer(sentences: Sequence[str], named: dict[str, str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: special tokens, then bytes, then words. ``named`` become attributes."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<pad>", "<end>", *named.values()],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([*sentences, "[user]\n[assistant]"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="<end>",
        padding_side="left",
        extra_special_tokens=named,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> Any:
    images = transformers.GotOcr2ImageProcessorPil(
        size={"height": shape.pixels, "width": shape.pixels}, crop_to_patches=False
    )
    return image_only(transformers.InternVLProcessor)(
        images, tokenizer, image_seq_length=shape.image_tokens, chat_template=TEMPLATE
    )
