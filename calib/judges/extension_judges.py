"""Judges of other packages, checked when they are built and whenever they judge."""

from collections.abc import Sequence
from dataclasses import replace

from calib.config.choices import LABELS, Label
from calib.config.extensions import Extension
from calib.config.judge import JudgeConfig
from calib.data.example import Example
from calib.judges.judge import Judge, JudgeInput, Report, RuleBased, Verdict
from calib.util.errors import did_you_mean
from calib.util.field_types import shown, wrong_field


def extension_judge(extension: Extension, config: JudgeConfig) -> Judge:
    """The judge that an extension builds.

    Raises CalibError (invalid-content), naming the extension: its function raises an error, or
    returns no judge. The judge does so when it raises an error, or does not return one verdict per
    response with a label that exists.
    """
    with extension.running("build"):
        judge = extension.module.build(config)
    if not callable(judge) or isinstance(judge, type):
        raise extension.wrong(
            f"build returned {shown(judge)}, not a judge: calib.judges.judge.RuleBased, or an "
            "object with id, costly and __call__"
        )
    for name, kind in (("id", str), ("costly", bool)):
        with extension.running(f"the judge's {name}"):
            value = getattr(judge, name)
        if not isinstance(value, kind) or value == "":
            raise extension.wrong(f"the judge's {name} is {shown(value)}, not {_TYPES[kind]}")
    if isinstance(judge, RuleBased):
        if problem := wrong_field(judge):
            raise extension.wrong(f"its RuleBased: {problem}")
        return _of_rules(extension, judge)
    return _Checked(extension, judge)


_TYPES = {str: "a text", bool: "True or False"}


def _of_rules(extension: Extension, judge: RuleBased) -> RuleBased:
    def label_of(example: Example, response: str) -> Label | None:
        with extension.running("label_of"):
            label = judge.label_of(example, response)
        if problem := _wrong_label(label):
            raise extension.wrong(f"label_of returned {problem}")
        return label

    def is_final(example: Example, response: str) -> bool:
        with extension.running("is_final"):
            return bool(judge.is_final(example, response))

    return replace(judge, label_of=label_of, is_final=is_final)


class _Checked:
    """A judge that is no RuleBased, whose verdicts are checked."""

    def __init__(self, extension: Extension, judge: Judge) -> None:
        self.id, self.costly = judge.id, judge.costly
        self._extension, self._judge = extension, judge

    def __call__(
        self, inputs: Sequence[JudgeInput], report: Report = lambda n: None
    ) -> list[Verdict]:
        with self._extension.running("the judge"):
            verdicts = self._judge(inputs, report)
        if not isinstance(verdicts, list | tuple) or len(verdicts) != len(inputs):
            count = f" of {len(verdicts)}" if isinstance(verdicts, list | tuple) else ""
            raise self._extension.wrong(
                f"the judge returned {shown(verdicts)}{count}, not a list of {len(inputs)} "
                "verdicts, one per response"
            )
        for verdict in verdicts:
            if not isinstance(verdict, Verdict):
                raise self._extension.wrong(
                    f"the judge returned {shown(verdict)}, not a calib.judges.judge.Verdict"
                )
            if problem := _wrong_label(verdict.label) or wrong_field(verdict):
                raise self._extension.wrong(f"a verdict of the judge has {problem}")
        return list(verdicts)


def _wrong_label(label: object) -> str | None:
    """What is wrong with a label; None for one that exists, and for none."""
    if label is None or (isinstance(label, str) and label in LABELS):
        return None
    hint = did_you_mean(label, LABELS) if isinstance(label, str) else ""
    return f"the label {shown(label)}, which is not one of {', '.join(LABELS)}.{hint}".rstrip(".")
