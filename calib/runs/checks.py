"""What is refused, and what is noted, before a sweep does anything."""

import hashlib
from collections.abc import Sequence

from calib import methods
from calib.config import SweepConfig
from calib.config_judges import ClassifierJudge, LlmJudge
from calib.config_methods import Activation, Combine, Steer
from calib.config_prompts import Calibration, MethodConfig, NoneMethod, Prompting, Worded
from calib.data.benchmark import Benchmark
from calib.data.example import Example
from calib.data.parts import counted_in_sra
from calib.errors import CalibError
from calib.judges.choose import check_judge
from calib.remote.model import RemoteModel
from calib.runs.remotely import check_remote, sampling_notes
from calib.settings.layers import layers_of
from calib.settings.prompting import with_text, words
from calib.settings.steering import given_direction
from calib.vlm.load import MINI, VLM, Model
from calib.vlm.prompts import read_prompt


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


def check(config: SweepConfig, vlm: Model, benchmark: Benchmark) -> dict[str, str]:
    """Raise CalibError for settings that could not be carried out; nothing is written.

    Returns what else identifies the run: the contents of given directions.
    """
    check_judge(config.judge, config.data.name)
    if config.generation.early_stop and isinstance(config.judge, ClassifierJudge | LlmJudge):
        raise CalibError(
            f"generation.early_stop=true: judge={config.judge.name} judges whole responses only. "
            "Leave early_stop away, or judge=string first and calib.judge run=FOLDER afterwards."
        )
    if not counted_in_sra(benchmark.examples):
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
                    layers_of(vlm, getattr(one, key))
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
                direction = given_direction(one.direction, vlm)
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
        read_prompt(vlm, with_text(example, words(reference, vlm), reference.place))
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


def meaning(config: SweepConfig, vlm: Model, examples: Sequence[Example]) -> list[str]:
    """What a reader must know before taking the run's numbers for a result."""
    notes = [config.title] if config.title else []
    if isinstance(vlm, RemoteModel):
        notes += [*vlm.notes, *sampling_notes(config, vlm)]
    counted = counted_in_sra(examples)
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
