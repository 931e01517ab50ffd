"""Fit a run's method again from the files in the run's folder, which is never written to."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from calib import methods
from calib.config.choices import Positions, Site
from calib.config.judge import JudgeConfig
from calib.config.method import Combine, Steer
from calib.config.prompts import MethodConfig, NoneMethod, PromptFlowMethod, Worded
from calib.config.sweep import GenerationConfig
from calib.data.example import Benchmark, Example
from calib.engine.activations import read_activations
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import READ_ROWS, Fitting
from calib.interventions.intervention import Method
from calib.judges.registry import choose_judge, sees_pictures
from calib.models.load import VLM
from calib.runs.export import direction_file
from calib.runs.generate import BaselineAnswers
from calib.runs.labels.judging import VERDICTS_FILE, Judging
from calib.runs.planning import Planner
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.runs.run import Run
from calib.runs.run_files import DIRECTIONS
from calib.util.errors import CalibError
from calib.util.thoughts import final_answer


class ServedFitting(Fitting):
    """The data of a served method; after fitting, no activation of a request is cached."""

    serving = False
    """Whether fitting is over and activations are those of requests."""

    def activations(
        self,
        examples: Sequence[Example],
        layers: Sequence[int],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of examples. [examples, layers, width], float32"""
        if not self.serving:
            return super().activations(examples, layers, positions, site)
        return read_activations(
            self.vlm,
            examples,
            cast(Positions, positions),
            READ_ROWS,
            None,
            list(layers),
            cast(Site, site),
        )


@dataclass
class FreshAnswers:
    """Responses of the uncalibrated model to a method's own prompts, recorded nowhere."""

    engine: Engine

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]:
        if judged:
            raise CalibError(
                "unsupported",
                f"The method needs judged responses ({purpose}), and a server runs no judge. "
                "Serve another method.",
            )
        responses = self.engine.answer([Request(example) for example in examples])
        return [JudgedAnswer(final_answer(response.text), None) for response in responses]


def needs_examples(config: MethodConfig) -> bool:
    """Whether fitting the method takes examples of a benchmark."""
    if isinstance(config, Combine):
        return needs_examples(config.prompt) or needs_examples(config.activation)
    if isinstance(config, Steer):
        return config.direction is None or config.gate != "none"
    return not isinstance(config, NoneMethod | Worded | PromptFlowMethod)


def build_without_examples(vlm: VLM, config: MethodConfig) -> Method:
    """Build a method that needs no examples.

    Raises CalibError for settings that the model or the method does not support.
    """
    methods.check(config, vlm, [])
    with TemporaryDirectory() as folder:
        fitting = ServedFitting(vlm, [], [], _fresh_answers(vlm, 1), Path(folder))
        return _build(fitting, config, _fresh_answers(vlm, 1))


def refit_from_run(vlm: VLM, config: MethodConfig, run: Run) -> Method:
    """The method as the run fitted it.

    Raises CalibError when it was fitted to a benchmark that cannot be loaded any more, or by an
    earlier version of calib in another way.
    """
    require_same_fit(run.method_settings.get(config.name, {}))
    config = with_run_direction(config, run.folder)
    if not needs_examples(config):
        return build_without_examples(vlm, config)
    try:
        examples, utility = run.reload_benchmark(), run.reload_utility()
    except CalibError as error:
        raise CalibError(
            error.code,
            f"method={config.name} is fitted to the run's examples, which failed to load: {error}",
        ) from error
    with TemporaryDirectory() as copied:
        # Fitting happens in a copy: it reuses the run's rows and labels, and may add its own.
        copy = Path(copied)
        for file in (ROWS_FILE, VERDICTS_FILE):
            if (run.folder / file).is_file():
                shutil.copyfile(run.folder / file, copy / file)
        if (run.folder / DIRECTIONS).is_dir():
            shutil.copytree(run.folder / DIRECTIONS, copy / DIRECTIONS)
        data = Benchmark(examples), Benchmark(utility)
        generation, judge = run.config("generation"), run.config("judge")
        with fitted_to(vlm, config, *data, generation, judge, run.data, run.seed, copy) as fitted:
            return fitted[0]


@contextmanager
def fitted_to(
    vlm: VLM,
    config: MethodConfig,
    benchmark: Benchmark,
    utility: Benchmark,
    generation: GenerationConfig,
    judge: JudgeConfig,
    data: str,
    seed: int,
    folder: Path,
) -> Iterator[tuple[Method, Fitting]]:
    """The method fitted to examples, and what it was fitted with, while ``folder`` exists.

    ``data`` is the name of the benchmark for the judge, or "". Rows, labels and directions in
    ``folder`` are used again. Raises CalibError if the method cannot be fitted.
    """
    methods.check(config, vlm, benchmark.examples)
    decoding = Decoding.of(generation, seed=seed)
    with RowStore.open(folder / ROWS_FILE) as record:
        chosen = choose_judge(judge, data, vlm.checkpoint)
        judging = Judging(chosen, folder, sees_pictures(judge))
        baseline = BaselineAnswers(Planner(Engine(vlm, decoding)), record, judging)
        fitting = ServedFitting(vlm, benchmark.examples, utility.examples, baseline, folder)
        method = methods.build(fitting, config)
        yield method, fitting
        fitting.serving = True
        fitting.baseline_answers = _fresh_answers(vlm, decoding.max_new_tokens)


_NEWER = {"adaptive": "harm_offset", "nullspace": "benign"}
"""Methods whose fit has changed, and a setting that their runs have since then."""


def require_same_fit(settings: Mapping[str, Any]) -> None:
    """Raise CalibError if the ``settings`` of a run's method are from before its fit changed."""
    name = str(settings.get("file") or settings.get("name"))
    if name in _NEWER and _NEWER[name] not in settings:
        raise CalibError(
            "mismatch",
            f"method={name} was run with an earlier version of calib, which fitted it in another "
            "way, so that the rates of the run are not those of the method as it is now. Run the "
            "sweep again with another out=FOLDER.",
        )
    for part in settings.values():
        if isinstance(part, Mapping):
            require_same_fit(part)


def _build(fitting: ServedFitting, config: MethodConfig, answers: FreshAnswers) -> Method:
    method = methods.build(fitting, config)
    fitting.serving, fitting.baseline_answers = True, answers
    return method


def _fresh_answers(vlm: VLM, max_new_tokens: int) -> FreshAnswers:
    return FreshAnswers(Engine(vlm, Decoding(max_new_tokens=max_new_tokens, kl=False)))


def with_run_direction(config: MethodConfig, folder: Path) -> MethodConfig:
    """The configuration of a steering method, with the direction file of its run."""
    if isinstance(config, Combine):
        return replace(config, activation=with_run_direction(config.activation, folder))
    if not isinstance(config, Steer) or config.gate != "none":
        return config
    path = folder / DIRECTIONS / direction_file(config)
    # The site is read from the file.
    return replace(config, direction=str(path), site="residual")
