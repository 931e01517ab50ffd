"""Hostile checkpoints of judges: classifiers and guards."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hostile import Hostile, Place
from hostile_checkpoints import TEMPLATES, changed, linked_copy
from hostile_content import (
    ESCAPE,
    EXAMPLE,
    LONG,
    NOT_JSON,
    Put,
    replace_file,
    special_files,
    writes,
)

from calib.config.judge import ClassifierJudge, LabelRule
from calib.judges.classifier import build
from calib.judges.judge import JudgeInput

_SETTINGS: dict[str, dict[str, Any]] = {
    "zero heads": {"num_attention_heads": 0},
    "10^9 layers": {"num_hidden_layers": 10**9},
    "a width of 10^9": {"hidden_size": 10**9},
    "a vocabulary of 10^12": {"vocab_size": 10**12},
    "a list as model_type": {"model_type": ["x"]},
    "an unknown dtype": {"dtype": "float7"},
    "10^9 labels": {"num_labels": 10**9},
    "labels as a list": {"id2label": ["a", "b"]},
    "labels with a gap": {"id2label": {"0": "NORMAL", "7": "REJECTION"}},
    "an escape sequence as label": {"id2label": {"0": ESCAPE, "1": LONG}},
    "a kernel as attention": {"_attn_implementation": "organisation/name"},
    "code of its own": {"auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "c.M"}},
    "a context of zero": {"max_position_embeddings": 0},
    "a list as token of the end": {"eos_token_id": ["x"]},
}


def judging(kind: str, damage: Put, **settings: Any) -> Callable[[Place], Callable[[], Any]]:
    """Judge a response by a damaged copy of a tiny model."""

    def make(place: Place) -> Callable[[], Any]:
        source = place.shared.guard if kind == "generative" else place.shared.sequence
        folder = linked_copy(source, place.folder / "judge")
        damage(folder)
        pattern = "NORMAL" if kind == "sequence" else "x"
        labels = [LabelRule(pattern, "answer")]
        config = ClassifierJudge(
            checkpoint=str(folder), kind=kind, labels=labels, max_new_tokens=2, **settings
        )
        return lambda: build(config)([JudgeInput(EXAMPLE, "It is a lamp.")])

    return make


def _set(name: str, changes: Mapping[str, Any]) -> Put:
    return lambda folder: changed(folder / name, changes)


def _put(name: str, put: Put) -> Put:
    return lambda folder: replace_file(folder / name, put)


def _with_template(text: Any) -> Put:
    """The template in its file, or, if it is no text, in tokenizer_config.json."""

    def replace(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        if isinstance(text, str):
            (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
        else:
            path = folder / "tokenizer_config.json"
            content = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(content | {"chat_template": text}), encoding="utf-8")

    return replace


def classifiers() -> list[Hostile]:
    """Every hostile checkpoint of a judge."""
    known = {"harmless": True}
    inputs = [
        Hostile(f"template of a guard: {what}",
                judging("generative", _with_template(text)), **known)
        for what, text in {
            **TEMPLATES, "a number": 5, "a list": [1], "an object": {"default": "{{ 1 }}"},
        }.items()
    ]  # fmt: skip
    kwargs = {"chat_template_kwargs": {"a": 1}}
    inputs += [
        Hostile(f"template of a guard with settings: {what}", judging(
            "generative", _with_template(TEMPLATES[what]), **kwargs))
        for what in ("a cut tag", "a power")
    ]  # fmt: skip
    for kind in ("generative", "sequence"):
        inputs += [
            Hostile(f"config.json of a judge ({kind}): {what}",
                    judging(kind, _set("config.json", changes)), **known)
            for what, changes in _SETTINGS.items()
        ]  # fmt: skip
    for name in ("config.json", "tokenizer.json"):
        inputs += [
            Hostile(f"{name} of a judge: {what}",
                    judging("sequence", _put(name, writes(data))))
            for what, data in list(NOT_JSON.items())[:12:3]
        ]  # fmt: skip
        inputs += [
            Hostile(f"{name} of a judge: {what}", judging("sequence", _put(name, put)))
            for what, put in special_files().items()
        ]
    return inputs
