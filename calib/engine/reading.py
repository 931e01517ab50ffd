"""Read a model without generating: activations, and first-token logits under many edits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from calib.config.choices import Site
from calib.data.example import Example
from calib.engine.activations import PROMPTS, batches_by_length, read_activations
from calib.engine.batches.batching import PASS_TOKENS
from calib.engine.edits import Edits, edits_by_site
from calib.models.layers import edit_activations
from calib.models.load import VLM
from calib.models.prompt_batch import collate, prompt_positions
from calib.models.prompts import read_prompts

ROWS = 64
"""Prompts per forward pass; fixed, so that a resumed run gets identical numbers."""


@torch.no_grad()
def first_token_logits(
    vlm: VLM, examples: Sequence[Example], settings: Sequence[Edits]
) -> torch.Tensor:
    """Logits of the first response token under each of ``settings``.

    # [settings, examples, vocabulary] float32, on the CPU

    Raises CalibError for a prompt that is too long, or positions that it does not have.
    """
    rows: list[torch.Tensor] = [torch.empty(0)] * len(examples)  # [settings, vocabulary] each
    for start in range(0, len(examples), PROMPTS):
        prompts = read_prompts(vlm, examples[start : start + PROMPTS])
        for indices in batches_by_length(prompts, ROWS, PASS_TOKENS):
            batch = collate(vlm, [prompts[k] for k in indices])
            by_setting = []
            for edits in settings:
                masks = {edit.positions: prompt_positions(batch, edit.positions) for edit in edits}
                sites = edits_by_site([edits] * len(indices), vlm.device, masks)
                with edit_activations(vlm.model, {at: site.apply for at, site in sites.items()}):
                    output = vlm.model(
                        **batch.inputs,
                        position_ids=batch.position_ids,
                        use_cache=False,
                        logits_to_keep=1,
                    )
                by_setting.append(output.logits[:, -1].to("cpu", torch.float32, copy=True))
            for k, logits in zip(indices, torch.stack(by_setting, dim=1), strict=True):
                rows[start + k] = logits
    return torch.stack(rows, dim=1)


class Reader(Protocol):
    """Reads activations and first-token logits, in this process or through another engine."""

    def read_activations(
        self,
        examples: Sequence[Example],
        positions: str = "last_prompt",
        batch_rows: int = 64,
        progress: Any = None,
        layers: Sequence[int] | None = None,
        site: Site = "residual",
    ) -> torch.Tensor:
        """See calib.engine.activations.read_activations. # [examples, layers, width]"""
        ...

    def first_token_logits(
        self, examples: Sequence[Example], settings: Sequence[Edits]
    ) -> torch.Tensor:
        """See first_token_logits. # [settings, examples, vocabulary]"""
        ...


@dataclass(frozen=True)
class ModelReader:
    """A reader with the weights of a model in this process."""

    vlm: VLM

    def read_activations(
        self,
        examples: Sequence[Example],
        positions: str = "last_prompt",
        batch_rows: int = 64,
        progress: Any = None,
        layers: Sequence[int] | None = None,
        site: Site = "residual",
    ) -> torch.Tensor:
        return read_activations(self.vlm, examples, positions, batch_rows, progress, layers, site)

    def first_token_logits(
        self, examples: Sequence[Example], settings: Sequence[Edits]
    ) -> torch.Tensor:
        return first_token_logits(self.vlm, examples, settings)
