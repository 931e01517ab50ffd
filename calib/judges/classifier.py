"""Local classifiers and guard models as judges, loaded from safetensors; custom code is never run.

There are two kinds. A sequence classifier reads the response alone and predicts a class; a
generative guard reads query and response through its own chat template and generates a verdict.
Rules in the configuration map classes and verdicts to labels. Both kinds read text only, without
the thoughts of a reasoning model. An empty response is irrelevant and not passed to the model; if
no rule matches, or a thought was cut off, there is no label.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from calib.config.choices import Label, Safety
from calib.config.judge import ClassifierJudge
from calib.judges.classifier_model import load_classifier
from calib.judges.classifier_readers import GuardReader, SequenceReader
from calib.judges.judge import CUT_OFF, Judge, JudgeInput, Report, Verdict
from calib.scoring.judged import checked_label
from calib.util.errors import CalibError


def build(config: ClassifierJudge) -> Judge:
    """Load the model and return the judge.

    Raises CalibError if no checkpoint is given, if it cannot be loaded as ``judge.kind``, if it
    lacks weights, and if a rule names a class that the model does not have.
    """
    if config.checkpoint is None:
        raise CalibError(
            "missing-setting",
            "judge.checkpoint is not given. Give a classifier or guard with safetensors weights, "
            "and map its outputs to labels in judge.labels; judge=qwen3guard and "
            "judge=distilroberta set both.",
        )
    model = load_classifier(config)
    reader = SequenceReader if config.kind == "sequence" else GuardReader
    return Classifier(config, reader(model, config), model.fingerprint)


class Classifier:
    """A judge that passes ``config.batch`` responses at a time through a loaded model."""

    costly = True

    def __init__(
        self, config: ClassifierJudge, reader: SequenceReader | GuardReader, fingerprint: str
    ) -> None:
        self.id = _id(config, fingerprint)
        self._config = config
        self._reader = reader

    def __call__(
        self, inputs: Sequence[JudgeInput], report: Report = lambda n: None
    ) -> list[Verdict]:
        """Return a verdict on each response, in order; call ``report`` after each batch."""
        name = str(self._config.checkpoint)
        verdicts: dict[int, Verdict] = {}
        prompts = {}
        for index, judge_input in enumerate(inputs):
            visible = judge_input.without_thoughts()
            if visible is None:
                verdicts[index] = Verdict(None, {name: CUT_OFF})
                continue
            if not visible.response.strip():
                verdicts[index] = Verdict("irrelevant")
                continue
            prompt = self._reader.prompt(visible)
            if prompt.tokens:
                prompts[index] = prompt
            else:
                verdicts[index] = Verdict(None, {name: f"[{prompt.note}]"})
        report(len(verdicts))
        # Sorting by length minimises padding; longest first, so that memory runs out at once or
        # not at all.
        order = sorted(prompts, key=lambda index: -len(prompts[index].tokens))
        for start in range(0, len(order), self._config.batch):
            batch = order[start : start + self._config.batch]
            outputs = self._reader.outputs([prompts[index].tokens for index in batch])
            for index, output in zip(batch, outputs, strict=True):
                note = prompts[index].note
                reply = f"[{note}] {output.reply}" if note else output.reply
                label = self._label(output.matched, inputs[index].example.safety)
                verdicts[index] = Verdict(label, {name: reply})
            report(len(batch))
        return [verdicts[index] for index in range(len(inputs))]

    def _label(self, output: str, safety: Safety | None) -> Label | None:
        for rule in self._config.labels:
            if rule.safety in (None, safety) and self._reader.matches(rule, output):
                return checked_label(rule.label)
        return None


def _id(config: ClassifierJudge, fingerprint: str) -> str:
    hashed = {
        "labels": [dataclasses.asdict(rule) for rule in config.labels],
        "kind": config.kind,
        # The name of a branch or folder does not identify its weights; the fingerprint also
        # covers max_new_tokens.
        "model": fingerprint,
    }
    if config.chat_template_kwargs:
        hashed["chat_template_kwargs"] = config.chat_template_kwargs
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    revision = f"@{config.revision}" if config.revision else ""
    return f"classifier:{config.checkpoint}{revision}:{digest[:12]}"
