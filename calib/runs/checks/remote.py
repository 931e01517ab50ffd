"""Settings that a remote model cannot carry out, refused before a run starts."""

from calib.config.method import Activation, Combine
from calib.config.prompts import Calibration, MethodConfig
from calib.config.sweep import GenerationConfig, SweepConfig
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError

_LOCAL_ONLY = {
    "batch_rows": "model.concurrency sets the number of requests at a time",
    "memory_gb": "nothing is computed on this machine",
    "sharing": "nothing is computed on this machine",
    "early_stop": "an endpoint returns, and charges for, complete responses",
}
"""Settings of calib.config.sweep.GenerationConfig without meaning for a remote model, and why."""


def check_remote(config: SweepConfig, model: RemoteModel, selected: list[MethodConfig]) -> None:
    """Raise CalibError for settings that a remote model cannot carry out."""
    for method in selected:
        if isinstance(method, Activation | Combine):
            raise CalibError(
                "unsupported",
                f"method={method.name} edits activations, which the endpoint of "
                f"{model.checkpoint} does not expose. Use a prompt-only method (reminder, caution, "
                "few_shot, cot, ecso, self_check), or a model with local weights.",
            )
        if isinstance(method, Calibration) and method.kl is not None:
            raise CalibError(
                "unsupported",
                f"method.kl={method.kl:g} needs the probabilities of first tokens, which the "
                f"endpoint of {model.checkpoint} does not return. Give method.strengths.",
            )
    given, default = config.generation, GenerationConfig()
    for name, reason in _LOCAL_ONLY.items():
        if getattr(given, name) != getattr(default, name):
            raise CalibError(
                "unsupported",
                f"generation.{name} has no effect on a remote model: {reason}. Omit it.",
            )
    _check_sampling(given, model)


def _check_sampling(given: GenerationConfig, model: RemoteModel) -> None:
    accepted, most = model.config.sends, model.config.most_temperature
    for name, default in (("temperature", 0), ("top_p", 1)):
        value = getattr(given, name)
        if value != default and name not in accepted:
            raise CalibError(
                "unsupported",
                f"generation.{name}={value:g} is not sent to {model.checkpoint}: it accepts "
                f"model.sends=[{','.join(accepted)}]. Omit generation.{name}, or add {name} to "
                "model.sends.",
            )
    if given.temperature > most:
        raise CalibError(
            "too-large",
            f"generation.temperature={given.temperature:g} is above the maximum of "
            f"{model.checkpoint} (model.most_temperature={most:g}). Give a lower one.",
        )


def remote_sampling_notes(config: SweepConfig, model: RemoteModel) -> list[str]:
    """A note where a remote model's samples cannot be reproduced."""
    if config.generation.temperature > 0 and "seed" not in model.config.sends:
        return [f"{model.checkpoint} takes no seed: another run draws other responses"]
    return []
