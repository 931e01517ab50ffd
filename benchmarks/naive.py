"""The baseline without an engine: a plain hook, and one call of ``generate`` per setting.

It is as fast as such code can be: the processor's batch is prepared once for all settings, all
prompts are in one left-padded batch, and the hook only adds the vector.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.cases import Case, Setting
from calib.data.example import Example
from calib.models.chat_template import conversation
from calib.models.layers import decoder_layers
from calib.models.load import VLM

Tokens = tuple[int, ...]
"""Generated tokens of a row, including the end token."""


def answer(case: Case) -> list[Tokens]:
    """Responses of all rows, in the order of ``case.rows``."""
    inputs = prepare(case.vlm, case.examples)
    answers = []
    for setting in case.settings:
        with steered(case.vlm, setting):
            answers += generate(case.vlm, inputs, case.max_new_tokens)
    return answers


@torch.no_grad()
def forward(case: Case) -> Any:
    """One plain forward pass over all prompts, as in transformers' documentation."""
    return case.vlm.model(**prepare(case.vlm, case.examples))


@torch.no_grad()
def encode(case: Case) -> Any:
    """The work before the decoder: the processor, and the vision tower for all images."""
    inputs = prepare(case.vlm, case.examples)
    return case.vlm.model.base_model.get_image_features(inputs["pixel_values"])


def prepare(vlm: VLM, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The processor's batch, on the model's device."""
    tiling = hasattr(vlm.processor.image_processor, "crop_to_patches")
    inputs = vlm.processor.apply_chat_template(
        [conversation(example) for example in examples],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, **({"crop_to_patches": vlm.tiles} if tiling else {})},
    )
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
    return dict(inputs.to(vlm.device))


def generate(vlm: VLM, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[Tokens]:
    """Greedy responses of one batch, each up to its first end token."""
    output = vlm.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return cut(vlm, output[:, inputs["input_ids"].shape[1] :])


def cut(vlm: VLM, generated: torch.Tensor) -> list[Tokens]:
    """Generated tokens of each row up to its end token. # [rows, length] int64"""
    end = vlm.model.generation_config.eos_token_id
    end_tokens = {end} if isinstance(end, int) else set(end)
    answers = []
    for row in generated.tolist():
        last = next((k for k, token in enumerate(row) if token in end_tokens), len(row) - 1)
        answers.append(tuple(row[: last + 1]))
    return answers


@contextmanager
def steered(vlm: VLM, setting: Setting) -> Iterator[None]:
    """Edit the model as a setting does, while the context is open."""
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
