"""What one writes without an engine: a plain hook, and one ``generate`` per setting.

Nothing is held against it: the processor's batch is prepared once for all settings, all prompts
are in one batch, padded on the left, and the hook does nothing but add the vector.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.cases import Case, Setting
from calib.data.example import Example
from calib.models.layers import decoder_layers
from calib.models.load import VLM
from calib.models.prompts import conversation

Tokens = tuple[int, ...]
"""What a row generated, the end token included."""


def answer(case: Case) -> list[Tokens]:
    """The answers of all rows, in the order of ``case.rows``."""
    inputs = prepare(case.vlm, case.examples)
    answers = []
    for setting in case.settings:
        with steered(case.vlm, setting):
            answers += generate(case.vlm, inputs, case.max_new_tokens)
    return answers


@torch.no_grad()
def forward(case: Case) -> Any:
    """One plain forward pass over all prompts, as the documentation writes it."""
    return case.vlm.model(**prepare(case.vlm, case.examples))


@torch.no_grad()
def encode(case: Case) -> Any:
    """What comes before the decoder: the processor, and all pictures through the vision tower."""
    inputs = prepare(case.vlm, case.examples)
    return case.vlm.model.base_model.get_image_features(inputs["pixel_values"])


def prepare(vlm: VLM, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The processor's batch, on the model's device."""
    inputs = vlm.processor.apply_chat_template(
        [conversation(example) for example in examples],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "crop_to_patches": vlm.tiles},
    )
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
    return dict(inputs.to(vlm.device))


def generate(vlm: VLM, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[Tokens]:
    """Greedy answers of one batch, each up to its first end token."""
    output = vlm.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return cut(vlm, output[:, inputs["input_ids"].shape[1] :])


def cut(vlm: VLM, generated: torch.Tensor) -> list[Tokens]:
    """Rows of generated tokens without what follows their end. # [rows, length] int64"""
    ends = vlm.model.generation_config.eos_token_id
    known = {ends} if isinstance(ends, int) else set(ends)
    answers = []
    for row in generated.tolist():
        last = next((k for k, token in enumerate(row) if token in known), len(row) - 1)
        answers.append(tuple(row[: last + 1]))
    return answers


@contextmanager
def steered(vlm: VLM, setting: Setting) -> Iterator[None]:
    """While open, the model carries the edit of a setting."""
    if setting is None:
        yield
        return
    layer = decoder_layers(vlm.model)[setting.layer]
    vector = setting.vector.to(vlm.device, vlm.model.dtype)

    def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        if setting.positions == "all":
            return output + vector
        if setting.positions == "last_prompt" and output.shape[1] == 1:  # a generated token
            return output
        output = output.clone()
        output[:, -1] += vector
        return output

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
