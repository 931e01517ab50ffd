"""Checks before a sweep starts: refuse what cannot work, and collect notes."""

import hashlib
from collections.abc import Sequence

from calib import methods
from calib.config.judge import ClassifierJudge, LlmJudge
from calib.config.method import Activation, Combine, Steer
from calib.config.prompts import Calibration, MethodConfig, NoneMethod, Prompting, Worded
from calib.config.sweep import GenerationConfig, SweepConfig
from calib.data.example import Benchmark, Example
from calib.data.splits import select_for_sra
from calib.interventions.grid import resolve_layers
from calib.interventions.prompting import add_text, prompt_text
from calib.interventions.steering import load_direction
from calib.judges.registry import check_judge
from calib.models.load import MINI, VLM, AnyModel
from calib.models.prompts import read_prompt
from calib.models.remote import RemoteModel
from calib.runs.row_store import RowStore
from calib.util.errors import CalibError


def methods_of(config: SweepConfig) -> list[MethodConfig]:
    """The methods of a run, the uncalibrated model left out: it is always there. The prompt-only
    reference is the last one."""
    chosen = list(config.methods.values()) or [config.method]
    chosen = [method for method in chosen if not isinstance(method, NoneMethod)]
    reference = reference_of(config)
    return chosen if reference is None else [*chosen, reference]


def reference_of(config: SweepConfig) -> MethodConfig | None:
    """The prompt-only method that is asked beside those of the run; None where none is wanted,
    where there is nothing to compare it with, and where the run has a prompt-only method itself."""
    own = [
        method
        for method in config.methods.values() or [config.method]
        if not isinstance(method, NoneMethod)
    ]
    wanted = not isinstance(config.reference, NoneMethod)
    alone = wanted and own and not any(isinstance(one, Prompting) for one in own)
    return config.reference if alone else None


def check_sweep(config: SweepConfig, vlm: AnyModel, benchmark: Benchmark) -> dict[str, str]:
    """Raise CalibError for settings that could not be carried out; nothing is written.

    Returns what else identifies the run: the contents of given directions.
    """
    check_judge(config.judge, config.data.name)
    if config.generation.early_stop and isinstance(config.judge, ClassifierJudge | LlmJudge):
        raise CalibError(
            f"generation.early_stop=true: judge={config.judge.name} judges whole responses only. "
            "Leave early_stop away, or judge=string first and calib.judge run=FOLDER afterwards."
        )
    if not select_for_sra(benchmark.examples):
        raise CalibError(
            f"data={config.data.name} has no queries here that SRA counts, and the operating point "
            "is chosen by it. Choose image-centric or text-centric parts, or original among the "
            "variants of dual-use pictures."
        )
    given = {}
    chosen = methods_of(config)
    if isinstance(vlm, RemoteModel):
        check_remote(config, vlm, chosen)
    names = [method.name for method in chosen]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CalibError(
            f"two methods have one name, {twice}. Give one of them another: "
            f"methods.KEY.name=OTHER methods.KEY.file={twice}."
        )
    for method in chosen:
        for one in _parts(method):
            for key in ("layers", "edited_layers", "gate_layers", "coefficient_layer"):
                if hasattr(one, key) and not isinstance(vlm, RemoteModel):
                    resolve_layers(vlm, getattr(one, key))
            by_cost = _by_cost(one)
            if by_cost and config.utility.name == "none":
                raise CalibError(
                    f"{by_cost} goes by a cost on utility questions, and utility=none has none. "
                    "Choose a utility set, or give method.strengths and method.layers."
                )
            methods.check(one, vlm, benchmark.examples)
            if isinstance(vlm, RemoteModel):
                continue
            if isinstance(one, Steer) and one.direction is not None:
                direction = load_direction(one.direction, vlm)
                contents = b"".join(t.numpy().tobytes() for t in (direction.vectors, direction.gap))
                given[f"direction of {one.name}"] = hashlib.sha256(contents).hexdigest()[:16]
    reference = reference_of(config)
    asked = [example for example in benchmark.examples if example.split != "train"]
    if isinstance(reference, Worded) and not isinstance(vlm, RemoteModel) and asked:
        _check_shown(reference, vlm, asked[0])
    return given


def _check_shown(reference: Worded, vlm: VLM, example: Example) -> None:
    """Raise CalibError where the model does not take the reference's prompt: nobody asked for it,
    and it would stop the run after the work that was asked for."""
    read_prompt(vlm, example)
    try:
        read_prompt(vlm, add_text(example, prompt_text(reference, vlm), reference.place))
    except CalibError as error:
        raise CalibError(
            f"the prompt-only reference, {reference.name}, is shown as reference.place="
            f"{reference.place}, and {error}. Give reference.place=before, or do without: "
            "method@reference=none."
        ) from error


def _by_cost(method: MethodConfig) -> str:
    """The setting by which a method chooses strengths or a layer by their cost, if there is one."""
    if isinstance(method, Calibration) and method.kl is not None:
        return f"method.kl={method.kl:g}"
    auto = isinstance(method, Activation) and method.layers == "auto"
    return "method.layers=auto" if auto else ""


def _parts(method: MethodConfig) -> list[MethodConfig]:
    """A method, and those it is combined of."""
    if isinstance(method, Combine):
        return [method, method.prompt, method.activation]
    return [method]


def sweep_notes(config: SweepConfig, vlm: AnyModel, examples: Sequence[Example]) -> list[str]:
    """What a reader must know before taking the run's numbers for a result."""
    notes = [config.title] if config.title else []
    if isinstance(vlm, RemoteModel):
        notes += [*vlm.notes, *remote_sampling_notes(config, vlm)]
    counted = select_for_sra(examples)
    sides = {example.safety for example in counted}
    if len(sides) == 1:
        (side,), rate = sides, "SRA_u" if "unsafe" in sides else "SRA_s"
        notes.append(
            f"data={config.data.name} has {side} queries only: {rate} stands for SRA, and the "
            "operating point is chosen by it. What a method does to the other side does not show"
        )
    if {example.dataset for example in counted} == {"dual_use"}:
        notes.append(
            "SRA is over the original dual-use pictures: SRA_u is RR_h and SRA_s is DAR_b, and the "
            "operating point is chosen by their mean"
        )
    if vlm.checkpoint == MINI and config.data.name != "mini":
        notes.append(
            f"{MINI} knows its procedural world only; what it answers to {config.data.name} means "
            "nothing and shows that the machinery runs"
        )
    plain = sum(example.picture is None for example in examples)
    for method in methods_of(config):
        if isinstance(method, Activation) and method.positions == "image" and plain:
            notes.append(
                f"{plain} of {len(examples)} examples have no picture: positions=image of "
                f"{method.name} edits nothing in them, and they count as calibrated"
            )
    return notes


_LOCAL = {
    "batch_rows": "model.concurrency says how many requests are under way at once",
    "memory_gb": "nothing is computed on this machine",
    "sharing": "nothing is computed on this machine",
    "early_stop": "a response comes back whole, and is paid for whole",
}
"""Settings of calib.config.schemas.GenerationConfig that mean nothing, and why."""

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


def remote_sampling_notes(config: SweepConfig, model: RemoteModel) -> list[str]:
    """What a reader should know about how a remote model draws."""
    if config.generation.temperature > 0 and "seed" not in model.config.sends:
        return [f"{model.checkpoint} takes no seed: another run draws other responses"]
    return []


def remote_answer_notes(record: RowStore) -> list[str]:
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
