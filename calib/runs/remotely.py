"""What a run with a remote model refuses, and what its record tells besides."""

from calib.config import GenerationConfig, SweepConfig
from calib.config_methods import Activation, Combine
from calib.config_prompts import Calibration, MethodConfig
from calib.errors import CalibError
from calib.remote.model import RemoteModel
from calib.runs.record import Rows

_LOCAL = {
    "batch_rows": "model.concurrency says how many requests are under way at once",
    "memory_gb": "nothing is computed on this machine",
    "sharing": "nothing is computed on this machine",
    "early_stop": "a response comes back whole, and is paid for whole",
}
"""Settings of calib.config.GenerationConfig that mean nothing, and why."""

_SHOWN = 4
"""So many of a long list of names are told."""


def check_remote(config: SweepConfig, model: RemoteModel, methods: list[MethodConfig]) -> None:
    """Raise CalibError for settings that a remote model cannot carry out."""
    for method in methods:
        if isinstance(method, Activation | Combine):
            raise CalibError(
                f"method={method.name} edits activations, and {model.checkpoint} answers behind an "
                "endpoint that shows none. Take a method that changes the prompt alone (reminder, "
                "caution, few_shot, cot, ecso), or a model with weights."
            )
        if isinstance(method, Calibration) and method.kl is not None:
            raise CalibError(
                f"method.kl={method.kl:g} goes by the probabilities of first tokens, and no "
                f"endpoint tells them: {model.checkpoint} has no KL. Give method.strengths."
            )
    given, usual = config.generation, GenerationConfig()
    for name, reason in _LOCAL.items():
        if getattr(given, name) != getattr(usual, name):
            raise CalibError(
                f"generation.{name} means nothing for a remote model: {reason}. Leave it away."
            )
    _check_sampling(given, model)


def _check_sampling(given: GenerationConfig, model: RemoteModel) -> None:
    takes, most = model.config.sends, model.config.most_temperature
    for name, usual in (("temperature", 0), ("top_p", 1)):
        value = getattr(given, name)
        if value != usual and name not in takes:
            raise CalibError(
                f"generation.{name}={value:g} is not sent to {model.checkpoint}: model.sends="
                f"[{','.join(takes)}] says what it takes. Leave generation.{name} away, or add "
                f"{name} to model.sends."
            )
    if given.temperature > most:
        raise CalibError(
            f"generation.temperature={given.temperature:g} is more than {model.checkpoint} takes "
            f"(model.most_temperature={most:g}). Give a lower one."
        )


def sampling_notes(config: SweepConfig, model: RemoteModel) -> list[str]:
    """What a reader should know about how a remote model draws."""
    if config.generation.temperature > 0 and "seed" not in model.config.sends:
        return [f"{model.checkpoint} takes no seed: another run draws other responses"]
    return []


def answered_notes(record: Rows) -> list[str]:
    """Who answered, what was blocked and what it took, over all goes of a run; nothing where a
    loaded model answered."""
    rows = [row for row in record.finished.values() if "model" in row]
    if not rows:
        return []
    names = sorted({str(row["model"]) for row in rows if row["model"]})
    used = {name: sum(row.get(name) or 0 for row in rows) for name in ("prompt_tokens", "tokens")}
    notes = [
        f"{len(rows)} rows were answered by {_few(names) or 'a model without a name'}; "
        f"{used['prompt_tokens']} tokens read and {used['tokens']} written, as the endpoint counts"
    ]
    if len(names) > 1:
        notes.append("more than one model answered: the rows are not all of the same model")
    blocked = [str(row.get("blocked", "")) for row in rows if row["finish"] == "blocked"]
    if blocked:
        reasons = ", ".join(sorted(set(blocked)))
        notes.append(
            f"{len(blocked)} of {len(rows)} rows were blocked by the provider ({reasons}); they "
            "carry the label blocked, without a judge"
        )
    cut = sum(row["finish"] == "length" and not row["response"].strip() for row in rows)
    if cut:
        notes.append(
            f"{cut} of {len(rows)} responses were cut before their first word: the limit counts "
            "hidden thoughts too. Raise generation.max_new_tokens, or have it think less "
            "(model.extra)"
        )
    return notes


def _few(names: list[str]) -> str:
    shown, more = names[:_SHOWN], len(names) - _SHOWN
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown)
