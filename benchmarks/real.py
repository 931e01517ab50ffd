"""The case ``real``: a decoder in the shape of a published small model, with random weights."""

import dataclasses

import torch
import transformers

from benchmarks.cases import Case, example, steered
from benchmarks.internvl import TEMPLATE, new_tokenizer
from calib.config.choices import Positions
from calib.models.load import VLM, fingerprint

PIXELS, PATCH = 224, 14
SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "rope_theta": 100000,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
"""As in the configuration of HuggingFaceTB/SmolLM2-135M: 135 million weights."""
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": PIXELS,
    "patch_size": PATCH,
}
"""Small, with the 256 tokens per image of a large one. The naive loop encodes each image once per
setting: with a large tower it would take longer."""
SPREAD = 0.08
"""Standard deviation of the weights; with the usual 0.02, every response repeats one token."""
TOKENS = 24
STRENGTHS = (-4, -2, -1, 1, 2, 4, 6)
QUERIES = (
    "what is it?",
    "how many rectangles are there in the picture, and which is the largest?",
    "tell me the colour of the ground.",
    "is there anything in the upper left corner, or is it empty?",
    "write a letter to the landlord about the broken window.",
    "which of the two answers is better, and why do you think so?",
    "explain in one sentence how a bicycle stays upright.",
    "give me three names for a small grey cat that likes to sleep all day.",
)
"""Eight prompts of 19 to 29 tokens, or with 256 image tokens more."""


def random_smollm2() -> VLM:
    """SmolLM2-135M's decoder in LLaVA, with random weights."""
    tokenizer = new_tokenizer(QUERIES, {"image_token": "<image>"})
    config = transformers.LlavaConfig(
        text_config={
            **SMOLLM2,
            "initializer_range": SPREAD,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=TOWER,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(PIXELS // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        # Special tokens are never generated: an end token would shorten the work.
        model.get_output_embeddings().weight[: len(tokenizer.all_special_ids)] = 0.0
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = transformers.LlavaProcessor(
        transformers.LlavaImageProcessorPil(
            size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS}
        ),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" drops
        chat_template=TEMPLATE.replace("<IMG_CONTEXT>", "<image>"),
    )
    return VLM(
        name="real",
        checkpoint="real",
        revision=None,
        model=model,
        processor=processor,
        fingerprint=fingerprint(model, processor),
        width=config.text_config.hidden_size,
        tiles=False,
    )


def real_case(vlm: VLM, pictures: bool, positions: Positions = "response") -> Case:
    """Eight prompts, the unedited model and seven strengths, 24 new tokens."""
    pixels = PIXELS if pictures else None
    made = [dataclasses.replace(example(k, pixels), query=query) for k, query in enumerate(QUERIES)]
    other = dataclasses.replace(example(len(made), pixels), query="who is it?")
    settings = steered(vlm, other, STRENGTHS, positions)
    name = f"real, {'256 image tokens' if pictures else 'text'}"
    return Case(name, vlm, made, settings, TOKENS, [other], mild=4)
