"""How a classifier is asked: by the response alone, or through a guard's own chat template."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError

from calib.config.judge import ClassifierJudge, LabelRule
from calib.judges.classifier_model import Loaded
from calib.judges.judge import JudgeInput
from calib.util.errors import CalibError, did_you_mean


@dataclass(frozen=True)
class ClassifierPrompt:
    """What is read about one response."""

    tokens: list[int]
    """Empty where the response cannot be judged."""
    note: str = ""
    """What was left out, or why nothing is read."""


@dataclass(frozen=True)
class ClassifierOutput:
    """What a classifier made of one prompt."""

    decisive: str
    """What the rules are tried on: the class, or what was written."""
    written: str
    """What is recorded."""


class SequenceReader:
    """A classifier of the response: the likeliest class, with its probability."""

    def __init__(self, loaded: Loaded, config: ClassifierJudge) -> None:
        """Raises CalibError for rules about classes that the model does not have."""
        model = loaded.model
        self._loaded = loaded
        self._names = [str(model.config.id2label[k]) for k in range(model.config.num_labels)]
        several = model.config.problem_type == "multi_label_classification"
        if several or len(self._names) < 2:
            raise CalibError(
                f"judge.checkpoint={config.checkpoint} does not choose one class of several. "
                "Give a classifier that does, or a guard with judge.kind=generative."
            )
        for rule in config.labels:
            if rule.pattern not in self._names:
                raise CalibError(
                    f"judge.labels: {config.checkpoint} has no class '{rule.pattern}', it has "
                    f"{', '.join(self._names)}.{did_you_mean(rule.pattern, self._names)}"
                )

    def prompt(self, one: JudgeInput) -> ClassifierPrompt:
        """The response's tokens, the first ones where the model cannot read all."""
        limit, tokenizer = self._loaded.limit, self._loaded.tokenizer
        text = _sound(one.response)
        tokens = tokenizer(text)["input_ids"]
        if limit is None or len(tokens) <= limit:
            return ClassifierPrompt(tokens)
        first = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        return ClassifierPrompt(first, f"first {limit} of {len(tokens)} tokens")

    @torch.inference_mode()
    def outputs(self, batch: Sequence[Sequence[int]]) -> list[ClassifierOutput]:
        """The likeliest class of each row of tokens."""
        tokens, mask = _padded(batch, self._loaded, left=False)
        logits = self._loaded.model(input_ids=tokens, attention_mask=mask).logits
        found = logits.float().softmax(-1).max(-1)
        return [
            ClassifierOutput(self._names[k], f"{self._names[k]} ({probability:.2f})")
            for probability, k in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]

    def fits(self, rule: LabelRule, decisive: str) -> bool:
        return rule.pattern == decisive


class GuardReader:
    """A language model trained to write a verdict on a query and the response to it."""

    def __init__(self, loaded: Loaded, config: ClassifierJudge) -> None:
        """Raises CalibError for a model without a chat template."""
        if not loaded.tokenizer.chat_template:
            raise CalibError(
                f"judge.checkpoint={config.checkpoint} has no chat template to ask it through. "
                "Give a guard that has one, or a classifier with judge.kind=sequence."
            )
        self._loaded = loaded
        self._checkpoint = config.checkpoint
        self._reserved = config.max_new_tokens
        self._marks = _marks(loaded.tokenizer)

    def prompt(self, one: JudgeInput) -> ClassifierPrompt:
        """The tokens of the guard's template around request (else query) and response.

        A prompt is never cut, which would take the guard's own instructions away: one that is too
        long is not read. Raises CalibError where the template takes no such conversation.
        """
        asked = one.example.metadata.get("request") or one.example.query
        turns = [
            {"role": role, "content": self._marks.sub(_broken, _sound(text))}
            for role, text in (("user", asked), ("assistant", one.response))
        ]
        tokenizer = self._loaded.tokenizer
        try:
            # Most guards' templates end where the verdict begins in any case; the others need it.
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise CalibError(
                f"The chat template of judge.checkpoint={self._checkpoint} takes no query with a "
                f"response ({error}). Give a guard that judges responses."
            ) from error
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        limit = self._loaded.limit
        if limit is not None and len(tokens) + self._reserved > limit:
            too_long = f"{len(tokens)} tokens and {self._reserved} to write, of at most {limit}"
            return ClassifierPrompt([], f"not asked: {too_long}")
        return ClassifierPrompt(tokens)

    @torch.inference_mode()
    def outputs(self, batch: Sequence[Sequence[int]]) -> list[ClassifierOutput]:
        """What is written greedily after each row of tokens."""
        tokens, mask = _padded(batch, self._loaded, left=True)
        rows = self._loaded.model.generate(input_ids=tokens, attention_mask=mask)
        texts = self._loaded.tokenizer.batch_decode(
            rows[:, tokens.shape[1] :], skip_special_tokens=True
        )
        return [ClassifierOutput(text.strip(), text.strip()) for text in texts]

    def fits(self, rule: LabelRule, decisive: str) -> bool:
        return re.search(rule.pattern, decisive, re.MULTILINE) is not None


def _padded(
    batch: Sequence[Sequence[int]], loaded: Loaded, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows filled up to the longest, and what of them is real. # [rows, longest] each"""
    longest = max(len(row) for row in batch)
    tokens = torch.full((len(batch), longest), loaded.pad)
    mask = torch.zeros_like(tokens)
    for k, row in enumerate(batch):
        where = slice(longest - len(row), None) if left else slice(len(row))
        tokens[k, where] = torch.tensor(row)
        mask[k, where] = 1
    device = loaded.model.get_input_embeddings().weight.device
    return tokens.to(device), mask.to(device)


def _sound(text: str) -> str:
    # Half a surrogate pair has no tokens.
    return text.encode("utf-8", "replace").decode()


def _marks(tokenizer: Any) -> re.Pattern[str]:
    """What text must not spell, because a tokenizer or template would take it for a mark."""
    added = tokenizer.added_tokens_decoder.values()
    named: Iterable[str] = (
        token.content
        for token in added
        if token.special or re.fullmatch(r"[<\[].+[>\]]", token.content)
    )
    marks = {mark for mark in (*named, "[INST]", "[/INST]") if mark.strip()}
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))


def _broken(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}"
