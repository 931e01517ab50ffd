"""Inputs and outputs of a classifier: the response alone, or a guard's own chat template."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calib.config.judge import ClassifierJudge, LabelRule
from calib.judges.classifier_model import ClassifierModel
from calib.judges.judge import JudgeInput
from calib.models.chat_template import PROCESSOR_ERRORS
from calib.models.processor import require_variables
from calib.models.template_bounds import rendered
from calib.util.errors import CalibError, did_you_mean
from calib.util.thoughts import final_answer, opened_thought

_PROMPT_END = 24
"""Number of tokens at the end of a prompt in which the opening tag of a thought is looked for."""


@dataclass(frozen=True)
class ClassifierPrompt:
    """The token ids of one response, ready for the model."""

    tokens: list[int]
    """Empty if the response cannot be judged."""
    note: str = ""
    """What was truncated, or why there are no tokens."""


@dataclass(frozen=True)
class ClassifierOutput:
    """The output of a classifier or guard for one prompt."""

    matched: str
    """Text that the label rules are matched against: the class, or the generated verdict."""
    reply: str
    """Text that is stored with the verdict."""


class SequenceReader:
    """A classifier of the response alone: its most probable class and that probability."""

    def __init__(self, model: ClassifierModel, config: ClassifierJudge) -> None:
        """Raises CalibError for a model that is not single-label, and for rules about classes that
        it does not have."""
        settings = model.model.config
        self._model = model
        names = settings.id2label
        self._names = [str(names.get(k, f"LABEL_{k}")) for k in range(settings.num_labels)]
        multi_label = settings.problem_type == "multi_label_classification"
        if multi_label or len(self._names) < 2:
            raise CalibError(
                "unsupported",
                f"judge.checkpoint={config.checkpoint} is not a single-label classifier with two "
                "or more classes. Give one, or a guard with judge.kind=generative.",
            )
        for rule in config.labels:
            if rule.pattern not in self._names:
                raise CalibError(
                    "unknown-name",
                    f"judge.labels: {config.checkpoint} has no class '{rule.pattern}', it has "
                    f"{', '.join(self._names)}.{did_you_mean(rule.pattern, self._names)}",
                )

    def prompt(self, judge_input: JudgeInput) -> ClassifierPrompt:
        """Tokenize the response, truncated to the model's limit."""
        limit, tokenizer = self._model.limit, self._model.tokenizer
        text = _without_surrogates(judge_input.response)
        tokens = tokenizer(text)["input_ids"]
        if limit is None or len(tokens) <= limit:
            return ClassifierPrompt(tokens)
        first = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        return ClassifierPrompt(first, f"first {limit} of {len(tokens)} tokens")

    @torch.inference_mode()
    def outputs(self, batch: Sequence[Sequence[int]]) -> list[ClassifierOutput]:
        """Return the most probable class of each row of token ids."""
        tokens, mask = _padded(batch, self._model, left=False)
        logits = self._model.model(input_ids=tokens, attention_mask=mask).logits
        best = logits.float().softmax(-1).max(-1)
        return [
            ClassifierOutput(self._names[k], f"{self._names[k]} ({probability:.2f})")
            for probability, k in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def matches(self, rule: LabelRule, output: str) -> bool:
        """Whether ``output`` is the class that ``rule`` names."""
        return rule.pattern == output


class GuardReader:
    """A language model that is trained to generate a verdict on a query and its response."""

    def __init__(self, model: ClassifierModel, config: ClassifierJudge) -> None:
        """Raises CalibError for a model without a chat template, with one that leaves out the
        query or the response, or that does not read judge.chat_template_kwargs."""
        if not model.tokenizer.chat_template:
            raise CalibError(
                "unsupported",
                f"judge.checkpoint={config.checkpoint} has no chat template. Give a guard that has "
                "one, or a classifier with judge.kind=sequence.",
            )
        self._model = model
        self._checkpoint = config.checkpoint
        self._reserved = config.max_new_tokens
        self._control_tokens = _control_tokens(model.tokenizer)
        self._kwargs: dict[str, Any] = dict(config.chat_template_kwargs or {})
        self._require_both_turns()
        require_variables(
            str(config.checkpoint), model.tokenizer.chat_template, self._kwargs, "judge"
        )

    def _require_both_turns(self) -> None:
        stand_ins = {"query": "text0of2", "response": "text1of2"}
        shown = self._text(**stand_ins)
        for word, stand_in in stand_ins.items():
            if stand_in not in shown:
                raise CalibError(
                    "unsupported",
                    f"The chat template of judge.checkpoint={self._checkpoint} leaves out the "
                    f"{word}. Give a guard that judges responses.",
                )

    def prompt(self, judge_input: JudgeInput) -> ClassifierPrompt:
        """Apply the guard's chat template to the request (or else the query) and the response.

        A prompt is never truncated, because that would remove the guard's own instructions: a
        prompt that is too long has no tokens. Raises CalibError if the template rejects a user turn
        followed by an assistant turn.
        """
        query = judge_input.example.metadata.get("request") or judge_input.example.query
        text = self._text(query, judge_input.response)
        tokenizer = self._model.tokenizer
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        limit = self._model.limit
        if limit is not None and len(tokens) + self._reserved > limit:
            length = f"{len(tokens)} tokens and {self._reserved} to generate"
            return ClassifierPrompt([], f"not judged: {length} exceed the limit of {limit}")
        return ClassifierPrompt(tokens)

    def _text(self, query: str, response: str) -> str:
        turns = [
            {
                "role": role,
                "content": self._control_tokens.sub(_defused, _without_surrogates(text)),
            }
            for role, text in (("user", query), ("assistant", response))
        ]
        tokenizer = self._model.tokenizer
        try:
            # Most guards' templates end where the verdict begins anyway; the others need this flag.
            return rendered(
                tokenizer.chat_template,
                len(query) + len(response),
                lambda: tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True, **self._kwargs
                ),
            )
        except PROCESSOR_ERRORS as error:
            raise CalibError(
                "unsupported",
                f"The chat template of judge.checkpoint={self._checkpoint} rejects a query with a "
                f"response ({error}). Give a guard that judges responses.",
            ) from error

    @torch.inference_mode()
    def outputs(self, batch: Sequence[Sequence[int]]) -> list[ClassifierOutput]:
        """Generate a verdict greedily after each row of token ids. Its thoughts match no rule."""
        tokens, mask = _padded(batch, self._model, left=True)
        rows = self._model.model.generate(input_ids=tokens, attention_mask=mask)
        decode = self._model.tokenizer.batch_decode
        texts = decode(rows[:, tokens.shape[1] :], skip_special_tokens=True)
        ends = decode([row[-_PROMPT_END:] for row in batch], skip_special_tokens=False)
        replies = [
            opened_thought(end) + text.strip() for end, text in zip(ends, texts, strict=True)
        ]
        return [ClassifierOutput(final_answer(reply), reply) for reply in replies]

    def matches(self, rule: LabelRule, output: str) -> bool:
        """Whether the rule's regular expression is found in ``output``."""
        return re.search(rule.pattern, output, re.MULTILINE) is not None


def _padded(
    batch: Sequence[Sequence[int]], model: ClassifierModel, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows of token ids to the longest; returns ids and attention mask, [rows, longest]."""
    longest = max(len(row) for row in batch)
    tokens = torch.full((len(batch), longest), model.pad)
    mask = torch.zeros_like(tokens)
    for k, row in enumerate(batch):
        columns = slice(longest - len(row), None) if left else slice(len(row))
        tokens[k, columns] = torch.tensor(row)
        mask[k, columns] = 1
    device = model.model.get_input_embeddings().weight.device
    return tokens.to(device), mask.to(device)


def _without_surrogates(text: str) -> str:
    # Tokenizers reject half a surrogate pair.
    return text.encode("utf-8", "replace").decode()


def _control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Compile a pattern of the texts that the tokenizer or template reads as control tokens."""
    added = tokenizer.added_tokens_decoder.values()
    special: Iterable[str] = (
        token.content
        for token in added
        if token.special or re.fullmatch(r"[<\[].+[>\]]", token.content)
    )
    texts = {text for text in (*special, "[INST]", "[/INST]") if text.strip()}
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))


def _defused(control_token: re.Match[str]) -> str:
    # A space after the first character keeps the text readable and breaks the token.
    return f"{control_token[0][0]} {control_token[0][1:]}"
