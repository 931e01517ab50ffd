"""Build the untrained mini-internvl and its processor, with the classes of OpenGVLab's models."""

import itertools

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.internvl import InternVLProcessor, InternVLVisionConfig
from transformers.models.qwen2 import Qwen2Config

from calib.data.mini import world
from calib.data.mini.draw import SIZE
from calib.data.mini.examples import DATASETS, load
from calib.models.processor import image_only

PATCH = 8
IMAGE_TOKENS = (SIZE // PATCH) ** 2 // 4
END, PAD = "<|im_end|>", "<|endoftext|>"
SPECIAL = [PAD, "<|im_start|>", END, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% endif %}"
    "{% endfor %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
    "{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Pre-tokenization of Qwen's tokenizers: letters, single digits, punctuation, white space.
PRETOKENS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def sentences() -> list[str]:
    """Every sentence of the mini world, for training the tokenizer."""
    texts = {turn for e in load(DATASETS) for turn in (e.query, e.answer) if turn}
    texts |= {*world.REFUSALS.values(), *world.SYSTEM_PROMPTS.values()}
    texts |= {*world.DANGER_ANSWERS.values(), *world.WRONG_ANSWERS.values()}
    texts |= {f"{role}\n" for role in ("system", "user", "assistant")}
    for name, colour in itertools.product(world.OBJECTS, world.COLOURS):
        texts |= {q.answer.format(name) for q in world.IMAGE_QUERIES}
        texts |= {world.IMAGE_WARNING.format(name), world.TYPED_DESCRIPTION.format(name)}
        texts |= {world.DRAWN_DESCRIPTION.format(name, colour) + world.DUAL_USE_WARNING}
    for targets in (world.SAFE_TARGETS, world.UNSAFE_TARGETS):
        for verb, target in ((v, t) for v in targets for t in targets[v]):
            texts |= {world.TEXT_ANSWER.format(f"{verb} {target}")}
            texts |= {world.TEXT_WARNING.format(f"{verb} {target}")}
    return sorted(texts)


def build_processor() -> InternVLProcessor:
    """InternVL's image processor and a byte-level BPE tokenizer, which encodes any text."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(sentences(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=1024,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    images = GotOcr2ImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        crop_to_patches=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return image_only(InternVLProcessor)(
        image_processor=images,
        tokenizer=tokenizer,
        image_seq_length=IMAGE_TOKENS,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: InternVLProcessor, seed: int) -> InternVLForConditionalGeneration:
    """A model with random float32 weights: a vision tower with 4 layers of width 96, and a Qwen2
    text model with 6 layers of width 128."""
    tokenizer = processor.tokenizer
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=384,
            image_size=[SIZE, SIZE],
            patch_size=[PATCH, PATCH],
            layer_scale_init_value=1.0,
        ).to_dict(),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=384,
            max_position_embeddings=1024,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        image_token_id=processor.image_token_id,
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=32,
    )
    return model
