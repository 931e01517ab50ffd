"""Two ways to run a sweep with any tool that can add a vector during generation."""

from collections.abc import Sequence
from typing import Protocol

import torch

from benchmarks import naive
from benchmarks.cases import Case, Setting, Steering
from calib.config.choices import Positions
from calib.models.load import VLM

Inputs = dict[str, torch.Tensor]


class Peer(Protocol):
    """A tool with its model."""

    vlm: VLM

    def generate(
        self,
        inputs: Inputs,
        layer: int,
        added: torch.Tensor,
        positions: Positions,
        max_new_tokens: int,
    ) -> torch.Tensor:
        """Greedy generation with ``added`` after a decoder block, at positions "all" or "response".

        ``added`` is one vector for all rows, or one per row. # [width] or [rows, 1, width]
        Returns prompts and responses. # [rows, length] int64
        """
        ...


def setting_by_setting(peer: Peer, case: Case) -> list[naive.Tokens]:
    """One batch of all prompts per setting, as in the introductory example of every tool."""
    inputs = naive.prepare(peer.vlm, case.examples)
    answers = []
    for setting in case.settings:
        if setting is None:
            answers += naive.generate(peer.vlm, inputs, case.max_new_tokens)
        else:
            answers += _generate(peer, case, inputs, setting, setting.vector)
    return answers


def layer_by_layer(peer: Peer, case: Case) -> list[naive.Tokens]:
    """All settings of a layer in one batch: repeated prompts, and one vector per row."""
    inputs = naive.prepare(peer.vlm, case.examples)
    answers: dict[int, list[naive.Tokens]] = {}
    for numbers in _by_layer(case.settings):
        settings = [case.settings[k] for k in numbers]
        first = settings[0]
        if first is None:
            answers[numbers[0]] = naive.generate(peer.vlm, inputs, case.max_new_tokens)
            continue
        repeated = {key: torch.cat([value] * len(settings)) for key, value in inputs.items()}
        vectors = torch.stack([s.vector for s in settings if s is not None])
        added = vectors.repeat_interleave(len(case.examples), dim=0)[:, None]  # [rows, 1, width]
        responses = _generate(peer, case, repeated, first, added)
        for k, number in enumerate(numbers):
            answers[number] = responses[k * len(case.examples) : (k + 1) * len(case.examples)]
    return [tokens for number in sorted(answers) for tokens in answers[number]]


def _generate(
    peer: Peer, case: Case, inputs: Inputs, setting: Steering, added: torch.Tensor
) -> list[naive.Tokens]:
    output = peer.generate(inputs, setting.layer, added, setting.positions, case.max_new_tokens)
    return naive.cut(peer.vlm, output[:, inputs["input_ids"].shape[1] :])


def _by_layer(settings: Sequence[Setting]) -> list[list[int]]:
    groups: dict[int | None, list[int]] = {}
    for number, setting in enumerate(settings):
        groups.setdefault(None if setting is None else setting.layer, []).append(number)
    return list(groups.values())
