"""Which judge a configuration names."""

from calib.config.judge import ClassifierJudge, JudgeConfig, LlmJudge
from calib.judges.judge import Judge
from calib.judges.rule_based import RULES, STRING
from calib.util.errors import CalibError, did_you_mean

PLAIN = {"rules": RULES, "string": STRING}
NAMES = ("auto", *PLAIN, "classifier", "llm")


def check_judge(config: JudgeConfig, data: str) -> None:
    """Raise CalibError for a judge that does not exist, or that does not know ``data``, the name of
    a benchmark ("" where there is a table of responses only)."""
    if isinstance(config, ClassifierJudge | LlmJudge):
        return
    if config.name not in ("auto", *PLAIN):
        raise CalibError(
            f"judge={config.name} is not known.{did_you_mean(config.name, NAMES)} "
            f"Choose from {', '.join(NAMES)}."
        )
    if config.name == "rules" and data != "mini":
        other = f"data={data}" if data else "a table without run=FOLDER"
        raise CalibError(f"judge=rules knows the mini world only, not {other}; use string.")


def sees_pictures(config: JudgeConfig) -> bool:
    """Whether the judge is shown the pictures, not only the text."""
    return isinstance(config, LlmJudge) and config.image


def choose_judge(config: JudgeConfig, data: str, exact: bool) -> Judge:
    """The judge that ``config`` names; "auto" is the exact one where it applies, which is
    mini-internvl's answers about the mini world, and the string judge everywhere else.

    ``exact`` says whether the model is mini-internvl. Raises CalibError for an unknown judge, a
    model that cannot be loaded or a missing key.
    """
    check_judge(config, data)
    if isinstance(config, ClassifierJudge):
        from calib.judges.classifier import build as build_classifier

        return build_classifier(config)
    if isinstance(config, LlmJudge):
        from calib.judges.llm import build as build_llm

        return build_llm(config)
    if config.name == "auto":
        return RULES if data == "mini" and exact else STRING
    return PLAIN[config.name]
