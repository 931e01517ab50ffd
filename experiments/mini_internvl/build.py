"""Build an untrained mini model and its processor, with the classes of OpenGVLab's models."""

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

from calib.data.mini import world as questions
from calib.data.mini.draw import SIZE
from calib.data.mini.world import MiniQuery, Wordings, World
from calib.models.processor import image_only
from experiments.mini_internvl.recipe import Recipe

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


def sentences(world: World) -> list[str]:
    """Every sentence of a mini world, for training the tokenizer."""
    responses, namings = world.responses, world.namings
    texts = {f"{role}\n" for role in ("system", "user", "assistant")}
    texts |= {*questions.SYSTEM_PROMPTS.values(), questions.DUAL_USE_QUERY}
    texts |= {wording for wordings in responses.refusals.values() for wording in wordings}
    texts |= _questions(world)
    named = (*world.image_queries, *namings.drawn, *namings.typed)
    texts |= {query.text for query in named}
    templates = (
        *_answers_to(named), *responses.image_warnings, *responses.typed_descriptions,
        *(a + b for a in responses.drawn_descriptions for b in responses.dual_use_warnings),
    )  # fmt: skip
    for name, colour in itertools.product(world.objects, questions.COLOURS):
        texts |= {template.format(name, colour) for template in templates}
    of_requests = (
        *world.text_queries, *responses.text_answers, *responses.text_warnings,
        *(query.text for query in namings.request), *_answers_to(namings.request),
    )  # fmt: skip
    for request in world.request_twin_of:
        texts |= {template.format(request) for template in of_requests}
    return sorted(texts)


def _answers_to(queries: tuple[MiniQuery, ...]) -> Wordings:
    return tuple(answer for query in queries for answer in query.answers)


def _questions(world: World) -> set[str]:
    """The utility and knowledge questions of a world, with their answers."""
    texts = {
        questions.COLOUR_QUESTION, questions.NAME_QUESTION, questions.PLACE_QUESTION,
        questions.COUNT_QUESTION, questions.DANGER_QUESTION,
        *questions.PLACE_ANSWERS.values(), *questions.COUNT_ANSWERS.values(),
        *questions.DANGER_ANSWERS.values(), *questions.WRONG_ANSWERS.values(),
    }  # fmt: skip
    texts |= {questions.COLOUR_ANSWER.format(colour) for colour in questions.COLOURS}
    texts |= {questions.NAME_ANSWER.format(name) for name in world.objects}
    texts |= {questions.WRONG_QUESTION.format(request) for request in world.request_twin_of}
    if world.materials:
        texts |= {questions.MATERIAL_ANSWER.format(name) for name in world.materials.values()}
        texts |= {questions.NAMED_DANGER_QUESTION.format(name) for name in world.objects}
        texts.add(questions.MATERIAL_QUESTION)
    return texts


def build_processor(recipe: Recipe) -> InternVLProcessor:
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
        vocab_size=recipe.vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(sentences(recipe.world), trainer)
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


def build_model(
    processor: InternVLProcessor, seed: int, recipe: Recipe
) -> InternVLForConditionalGeneration:
    """A model with random float32 weights: a vision tower with 4 layers, and a Qwen2 text model
    with 6 layers of width 128."""
    tokenizer = processor.tokenizer
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=recipe.vision_width,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=recipe.vision_intermediate,
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
