"""Local classifiers and guard models as judges, loaded from safetensors only.

code of others.

Two kinds. A sequence classifier reads the response alone and names a class; a generative guard
reads query and response through its own chat template and writes a verdict. Rules in the
configuration say which label a class or a verdict means. Both read text only. An empty response is
irrelevant without asking; where no rule fits there is no label.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence

from calib.config.judge import ClassifierJudge
from calib.data.example import Safety
from calib.judges.classifier_model import load
from calib.judges.classifier_readers import GuardReader, SequenceReader
from calib.judges.judge import Judge, JudgeInput, Verdict
from calib.scoring.judged import Label, checked_label
from calib.util.errors import CalibError


def build(config: ClassifierJudge) -> Judge:
    """The judge that ``config`` describes, its model loaded.

    Raises CalibError where no checkpoint is given, it cannot be loaded as judge.kind says, it
    lacks weights, or a rule names a class that it does not have.
    """
    if config.checkpoint is None:
        raise CalibError(
            "judge.checkpoint is not given. Name a classifier or guard with safetensors weights, "
            "and what its outputs mean in judge.labels; judge=qwen3guard and judge=distilroberta "
            "bring both."
        )
    loaded = load(config)
    kind = SequenceReader if config.kind == "sequence" else GuardReader
    return Classifier(config, kind(loaded, config), loaded.fingerprint)


class Classifier:
    """Asks a loaded model about config.batch responses at a time."""

    keeps = True

    def __init__(
        self, config: ClassifierJudge, reader: SequenceReader | GuardReader, fingerprint: str
    ) -> None:
        self.id = _id(config, fingerprint)
        self._config = config
        self._reader = reader

    def __call__(
        self, said: Sequence[JudgeInput], tell: Callable[[int], None] = lambda n: None
    ) -> list[Verdict]:
        """A verdict on each response, in order; ``tell`` hears of each batch that is done."""
        name = str(self._config.checkpoint)
        verdicts: dict[int, Verdict] = {}
        prompts = {}
        for place, one in enumerate(said):
            if not one.response.strip():
                verdicts[place] = Verdict("irrelevant")
                continue
            prompt = self._reader.prompt(one)
            if prompt.tokens:
                prompts[place] = prompt
            else:
                verdicts[place] = Verdict(None, {name: f"[{prompt.note}]"})
        tell(len(verdicts))
        # Rows of like length waste no padding; the longest come first, so that what does not fit
        # into memory shows at once.
        places = sorted(prompts, key=lambda place: -len(prompts[place].tokens))
        for start in range(0, len(places), self._config.batch):
            batch = places[start : start + self._config.batch]
            outputs = self._reader.outputs([prompts[place].tokens for place in batch])
            for place, output in zip(batch, outputs, strict=True):
                note = prompts[place].note
                reply = f"[{note}] {output.written}" if note else output.written
                label = self._label(output.decisive, said[place].example.safety)
                verdicts[place] = Verdict(label, {name: reply})
            tell(len(batch))
        return [verdicts[place] for place in range(len(said))]

    def _label(self, decisive: str, safety: Safety | None) -> Label | None:
        for rule in self._config.labels:
            if rule.safety in (None, safety) and self._reader.fits(rule, decisive):
                return checked_label(rule.label)
        return None


def _id(config: ClassifierJudge, fingerprint: str) -> str:
    decisive = {
        "labels": [dataclasses.asdict(rule) for rule in config.labels],
        "kind": config.kind,
        # A branch or a folder may hold other weights tomorrow; max_new_tokens is part of it.
        "model": fingerprint,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    revision = f"@{config.revision}" if config.revision else ""
    return f"classifier:{config.checkpoint}{revision}:{digest[:12]}"
