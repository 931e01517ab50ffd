"""Before a run starts: load its model and examples, refuse settings that cannot work, and collect
notes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib import methods
from calib.config.choices import Split
from calib.config.chosen_utility import SETS
from calib.config.engine import VllmChoice
from calib.config.judge import ClassifierJudge, LlmJudge
from calib.config.method import Activation, Combine, Steer
from calib.config.model import PACKAGED
from calib.config.prompts import (
    Calibration,
    MethodConfig,
    NoneMethod,
    Prompting,
    Worded,
)
from calib.config.sweep import ExtractConfig, SweepConfig
from calib.data.benchmarks import how_to_read_more, load_benchmark, load_utility
from calib.data.example import Benchmark, Example
from calib.data.mini.worlds import MINI_WORLDS
from calib.data.split_levels import overlap_note
from calib.data.splits import select_for_sra
from calib.directions.origin import Origin, origin_of
from calib.interventions.grid import resolve_layers
from calib.interventions.prompting import add_text, prompt_text, require_readable
from calib.interventions.steering import load_direction
from calib.judges.registry import check_judge
from calib.models.chat_template import require_arrival
from calib.models.load import VLM, AnyModel, load, open_model
from calib.models.prompts import check_several_pictures
from calib.models.remote import RemoteModel
from calib.runs.checks.remote import check_remote, remote_sampling_notes
from calib.runs.checks.vllm import check_engine, check_extraction, check_methods, comparison_notes
from calib.runs.manifest import identity_of, run_folder
from calib.util.errors import CalibError
from calib.util.files import home_expanded
from calib.util.progress import waiting


@dataclass(frozen=True)
class Inputs:
    """The model, benchmark and utility questions of a run, and where the run belongs."""

    model: AnyModel
    benchmark: Benchmark
    utility: Benchmark
    folder: Path
    identity: dict[str, Any]
    """Settings that decide the rows, the checkpoint and the fingerprint of its weights."""
    left_out: list[str] = field(default_factory=list)
    """Ids of the examples that data.skip_long left out."""

    @property
    def notes(self) -> list[str]:
        return [*self.benchmark.notes, *self.utility.notes]

    @property
    def origin(self) -> Origin | None:
        """Weights and settings of the model by field; None for a remote model."""
        return origin_of(self.model) if isinstance(self.model, VLM) else None

    def record(self, notes: Sequence[str]) -> dict[str, Any]:
        """What run.json records of the inputs: notes, and the examples that were left out."""
        return {"notes": notes} | ({"left_out": self.left_out} if self.left_out else {})


def load_inputs(
    config: SweepConfig | ExtractConfig, *names: str, model: AnyModel | None = None
) -> Inputs:
    """Load the model, unless it is given, and the examples of a run; nothing is written.

    Without ``config.out`` the folder is named after ``names`` and the configuration. Raises
    CalibError when the model or the examples cannot be loaded.
    """
    check_engine(config.engine, config.model)
    if isinstance(config, ExtractConfig):
        check_extraction(config.engine, config)
    else:
        check_methods(config.engine, methods_of(config))
    seed = config.seed if isinstance(config, SweepConfig) else 0
    # The examples come first: reading them takes seconds, loading a model may take minutes.
    benchmark = load_benchmark(config.data, seed)
    utility = load_utility(config.utility, seed, config.data.system)
    if model is None:
        with waiting(f"loading the model ({config.model.name})"):
            model = _load_model(config)
    if isinstance(model, VLM):
        check_several_pictures(model, [*benchmark.examples, *utility.examples])
    folder = default_folder(config, names, model.fingerprint)
    weights = {"checkpoint": model.checkpoint, "fingerprint": model.fingerprint}
    return Inputs(
        model,
        benchmark,
        utility,
        home_expanded(config.out) if config.out else folder,
        identity_of(config) | weights,
    )


def default_folder(
    config: SweepConfig | ExtractConfig, names: Sequence[str], fingerprint: str
) -> Path:
    """The default folder of a run, named after its checkpoint if one is given.

    A run of an earlier version, named after the option of model=, is found where it is.
    """
    model, former = config.model, run_folder(names, config, fingerprint)
    shown = [model.folder_name if name == model.name else name for name in names]
    return former if former.is_dir() else run_folder(shown, config, fingerprint)


def _load_model(config: SweepConfig | ExtractConfig) -> AnyModel:
    if isinstance(config.engine, VllmChoice):
        # Few rows are compared with it, and the GPUs are vLLM's.
        return load(config.model, config.engine.weights, "cpu")
    is_extraction = isinstance(config, ExtractConfig)  # needs a model with weights
    return load(config.model) if is_extraction else open_model(config.model)


def methods_of(config: SweepConfig) -> list[MethodConfig]:
    """The methods of a run; the prompt-only reference is the last one.

    The uncalibrated model, which is part of every run, is left out.
    """
    reference = reference_of(config)
    return _own_methods(config) if reference is None else [*_own_methods(config), reference]


def reference_of(config: SweepConfig) -> MethodConfig | None:
    """The prompt-only method that is also run for comparison.

    None where it is not wanted, there is no method to compare with it, or the run has a prompt-only
    method itself.
    """
    own = _own_methods(config)
    wanted = not isinstance(config.reference, NoneMethod)
    if wanted and own and not any(isinstance(method, Prompting) for method in own):
        return config.reference
    return None


def _own_methods(config: SweepConfig) -> list[MethodConfig]:
    methods_given = list(config.methods.values()) or [config.method]
    return [method for method in methods_given if not isinstance(method, NoneMethod)]


def check_sweep(config: SweepConfig, model: AnyModel, benchmark: Benchmark) -> dict[str, str]:
    """Check all settings of a sweep; nothing is written.

    Returns the hash of each direction file that a method is given, by a name for run.json. Raises
    CalibError for settings that cannot work.
    """
    check_judge(config.judge, config.data.name)
    if config.generation.early_stop and isinstance(config.judge, ClassifierJudge | LlmJudge):
        raise CalibError(
            "conflicting-settings",
            f"generation.early_stop=true: judge={config.judge.name} needs complete responses. Omit "
            "early_stop, or use judge=string here and then calib.judge run=FOLDER.",
        )
    if not select_for_sra(benchmark.examples):
        raise CalibError(
            "too-few",
            f"data={config.data.name} has no queries here that SRA counts, and the operating point "
            "is selected by SRA. Choose image-centric or text-centric parts, or original among the "
            "variants of dual-use pictures.",
        )
    selected = methods_of(config)
    if isinstance(model, RemoteModel):
        check_remote(config, model, selected)
    names = [method.name for method in selected]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise CalibError(
            "duplicate",
            f"two methods have the name {name}. Give one of them another name: "
            f"methods.KEY.name=OTHER methods.KEY.file={name}.",
        )
    if isinstance(model, VLM):
        for example in benchmark.examples:
            require_arrival(model, example)
        if isinstance(reference := reference_of(config), Worded):
            _check_reference(reference, model, benchmark.examples)
    hashes: dict[str, str] = {}
    for method in selected:
        for part in _parts(method):
            hashes |= _check_method(config, part, model, benchmark)
    # Before anything is generated: the validation split alone may take hours.
    require_queries(config, "validation", select_for_sra(benchmark.examples))
    require_queries(config, "test", benchmark.examples)
    return hashes


def require_queries(config: SweepConfig, split: Split, examples: Sequence[Example]) -> None:
    """Raise CalibError (too-few) unless a split has queries about safety among ``examples``."""
    if not any(example.safety for example in examples if example.split == split):
        raise CalibError(
            "too-few",
            f"the {split} split of data={config.data.name} is empty with these settings. "
            "(Splits are drawn by hashing pairs, so a few pairs may leave one empty.) "
            f"{how_to_read_more(config.data)}",
        )


def _check_method(
    config: SweepConfig, method: MethodConfig, model: AnyModel, benchmark: Benchmark
) -> dict[str, str]:
    """Check one method; returns the hash of the direction file that it is given, if any."""
    if not isinstance(model, RemoteModel):
        sites = {"layers": getattr(method, "site", "residual")}
        for key in ("layers", "edited_layers", "gate_layers", "coefficient_layer"):
            try:
                resolve_layers(model, getattr(method, key, []), sites.get(key, "residual"))
            except CalibError as error:
                raise CalibError(error.code, f"{key} of method {method.name}: {error}") from error
    setting = _selected_by_kl(method)
    if setting and config.utility.name == "none":
        raise CalibError(
            "conflicting-settings",
            f"{setting} measures KL on utility questions, and utility=none has no questions. "
            "Choose a utility set, or give method.strengths and method.layers.",
        )
    methods.check(method, model, benchmark.examples)
    given = isinstance(method, Steer) and method.direction is not None
    if isinstance(model, RemoteModel) or not given:
        return {}
    assert isinstance(method, Steer) and method.direction is not None
    direction = load_direction(method.direction, model)
    contents = b"".join(t.numpy().tobytes() for t in (direction.vectors, direction.gap))
    return {f"direction of {method.name}": hashlib.sha256(contents).hexdigest()[:16]}


def _check_reference(reference: Worded, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError when the reference's prompt does not reach the model.

    The user did not ask for the reference, and it would stop the run after the user's own methods.
    """
    text, place = prompt_text(reference, vlm), reference.place
    require_readable(
        vlm,
        examples,
        [add_text(example, text, place) for example in examples],
        f"the prompt-only reference, {reference.name}, is placed by reference.place={place}",
        "Give reference.place=before, or model.system_place=user, or omit the reference: "
        "method@reference=none.",
    )


_PUBLISHED_UTILITY = f"Give utility={', '.join(SETS[:-1])} or {SETS[-1]}"


def _offered_utility(model: AnyModel) -> str:
    """Which utility questions to give for a model."""
    if model.checkpoint in PACKAGED:
        return f"Give utility={PACKAGED[model.checkpoint]}, or leave utility out"
    return f"{_PUBLISHED_UTILITY}; the default is the first of these that was downloaded before"


def _drawing_notes(config: SweepConfig) -> list[str]:
    """Notes on what drawings of the mini worlds show about a model that is not ours."""
    notes = []
    if config.data.name in MINI_WORLDS:
        notes.append(
            f"data={config.data.name} is drawings of a few things, made for a small model that "
            "ships with calib: on another model this is a smoke test. Give data=pairs "
            "data.file=FILE, or a benchmark of docs/benchmarks.md"
        )
    if config.utility.name in MINI_WORLDS:
        notes.append(
            f"utility={config.utility.name}: helpfulness is measured on drawings of a few things. "
            f"They are easy for another model, so a loss may not show. {_PUBLISHED_UTILITY}"
        )
    return notes


def _selected_by_kl(method: MethodConfig) -> str:
    """The setting by which strengths or a layer are selected at a cost in KL; empty if none is."""
    if isinstance(method, Calibration) and method.kl is not None:
        return f"method.kl={method.kl:g}"
    auto = isinstance(method, Activation) and method.layers == "auto"
    return "method.layers=auto" if auto else ""


def _parts(method: MethodConfig) -> list[MethodConfig]:
    """A method and, of a combination, the methods in it."""
    if isinstance(method, Combine):
        return [method, method.prompt, method.activation]
    return [method]


def sweep_notes(config: SweepConfig, model: AnyModel, examples: Sequence[Example]) -> list[str]:
    """Notes on what the numbers of the run can and cannot show."""
    notes = [config.title] if config.title else []
    if isinstance(model, RemoteModel):
        notes += [*model.notes, *remote_sampling_notes(config, model)]
    notes += comparison_notes(config.engine, methods_of(config))
    counted = select_for_sra(examples)
    sides = {example.safety for example in counted}
    if len(sides) == 1:
        (side,), rate = sides, "SRA_u" if "unsafe" in sides else "SRA_s"
        notes.append(
            f"data={config.data.name} has {side} queries only: {rate} stands for SRA, and the "
            "operating point is selected by it. Effects on the other side are not measured"
        )
    if {example.dataset for example in counted} == {"dual_use"}:
        notes.append(
            "SRA is over the original dual-use pictures: SRA_u is RR_h and SRA_s is DAR_b, and the "
            "operating point is selected by their mean"
        )
    several = sum(len(example.pictures) > 1 for example in examples)
    if several and model.checkpoint in PACKAGED:
        notes.append(
            f"{several} of {len(examples)} examples have several pictures, and "
            f"{model.checkpoint} was trained with one per query"
        )
    if PACKAGED.get(model.checkpoint, config.data.name) != config.data.name:
        notes.append(
            f"{model.checkpoint} knows its procedural world only: its results on "
            f"{config.data.name} are not meaningful; this is a smoke test only"
        )
    if isinstance(model, VLM) and model.checkpoint not in PACKAGED:
        notes += _drawing_notes(config)
    if config.utility.name == "none":
        notes.append(
            "utility=none: the cost in helpfulness is not measured, and no setting is excluded for "
            f"it. {_offered_utility(model)}"
        )
    if config.model.system_place == "user":
        notes.append(
            "model.system_place=user: system prompts are not system messages, but stand before the "
            "first query, with a blank line in between"
        )
    if overlap := overlap_note(counted):
        notes.append(overlap)
    without = sum(example.picture is None for example in examples)
    for method in methods_of(config):
        if isinstance(method, Activation) and method.positions == "image" and without:
            notes.append(
                f"{without} of {len(examples)} examples have no picture: positions=image of "
                f"{method.name} edits nothing in them, and they count as calibrated"
            )
    return notes
