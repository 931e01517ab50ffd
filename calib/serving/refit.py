"""A run's method again, fitted from what the run's folder holds; the folder stays as it is."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from calib import methods
from calib.config.data import DATA, UTILITIES, PublishedData
from calib.config.judge import JUDGES
from calib.config.method import Combine, Steer
from calib.config.prompts import MethodConfig, NoneMethod, PromptFlowMethod, Worded
from calib.config.sweep import GenerationConfig
from calib.data.benchmarks import load_benchmark, load_utility
from calib.data.example import Example
from calib.engine.activations import read_activations
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import READ_ROWS, Fitting
from calib.interventions.intervention import Method
from calib.judges.registry import choose_judge, sees_pictures
from calib.models.layers import Site
from calib.models.load import MINI, VLM
from calib.models.prompt_batch import Positions
from calib.runs.export import direction_file
from calib.runs.generate import BaselineAnswers
from calib.runs.judging import VERDICTS_FILE, Judging
from calib.runs.planning import Planner
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.runs.run_files import typed
from calib.runs.sweep import DIRECTIONS
from calib.util.errors import CalibError


class ServedFitting(Fitting):
    """What a served method looks at: once it is fitted, nothing is kept of what requests show."""

    serving = False

    def activations(
        self,
        examples: Sequence[Example],
        layers: Sequence[int],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of examples. # [examples, layers, width] float32"""
        if not self.serving:
            return super().activations(examples, layers, positions, site)
        where = cast(Positions, positions), cast(Site, site)
        return read_activations(
            self.vlm, examples, where[0], READ_ROWS, None, list(layers), where[1]
        )


@dataclass
class Refit:
    """What the uncalibrated model answers to a method's own questions, kept nowhere."""

    engine: Engine

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]:
        if judged:
            raise CalibError(
                f"the method wants labels of new answers ({purpose}), and nothing is judged while "
                "a model is served. Serve another method."
            )
        found = self.engine.answer([Request(example) for example in examples])
        return [JudgedAnswer(response.text, None) for response in found]


def needs_data(config: MethodConfig) -> bool:
    """Whether a method can be fitted only with a benchmark's examples."""
    if isinstance(config, Combine):
        return needs_data(config.prompt) or needs_data(config.activation)
    if isinstance(config, Steer):
        return config.direction is None or config.gate != "none"
    return not isinstance(config, NoneMethod | Worded | PromptFlowMethod)


def without_data(vlm: VLM, config: MethodConfig) -> Method:
    """A method that needs no examples.

    Raises CalibError for settings that cannot be carried out.
    """
    methods.check(config, vlm, [])
    with TemporaryDirectory() as folder:
        fitting = ServedFitting(vlm, [], [], _nobody(vlm, 1), Path(folder))
        return _built(fitting, config, _nobody(vlm, 1))


def of_run(vlm: VLM, config: MethodConfig, folder: Path, settings: dict[str, Any]) -> Method:
    """The method of a run with these settings, as the run had it.

    Raises CalibError where it was fitted to a benchmark that cannot be loaded any more.
    """
    config = with_own_direction(config, folder)
    if not needs_data(config):
        return without_data(vlm, config)
    seed, name = int(settings["seed"]), str(dict(settings["data"]).get("name"))
    try:
        data = typed([DATA.get(name, PublishedData)], settings["data"])
        examples = load_benchmark(data, seed).examples
        utility_config = typed(list(UTILITIES.values()), settings["utility"])
        utility = load_utility(utility_config, seed, data.system)
    except CalibError as error:
        raise CalibError(
            f"method={config.name} is fitted to the examples of the run, and they cannot be loaded "
            f"again: {error}"
        ) from error
    methods.check(config, vlm, examples)
    generation = typed([GenerationConfig], settings["generation"])
    judge = typed(list(JUDGES.values()), settings["judge"])
    decoding = Decoding(
        max_new_tokens=generation.max_new_tokens,
        batch_rows=generation.batch_rows,
        temperature=generation.temperature,
        top_p=generation.top_p,
        seed=seed,
    )
    with TemporaryDirectory() as copied:
        # Fitted in a copy: what the run holds is used, and what it lacks is not added to it.
        place = Path(copied)
        for file in (ROWS_FILE, VERDICTS_FILE):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, place / file)
        if (folder / DIRECTIONS).is_dir():
            shutil.copytree(folder / DIRECTIONS, place / DIRECTIONS)
        with RowStore.open(place / ROWS_FILE) as record:
            exact = vlm.checkpoint == MINI
            chosen = choose_judge(judge, name, exact)
            judging = Judging(chosen, place, sees_pictures(judge))
            asking = BaselineAnswers(Planner(Engine(vlm, decoding)), record, judging)
            fitting = ServedFitting(vlm, examples, utility, asking, place)
            return _built(fitting, config, _nobody(vlm, generation.max_new_tokens))


def _built(fitting: ServedFitting, config: MethodConfig, answers: Refit) -> Method:
    method = methods.build(fitting, config)
    fitting.serving, fitting.baseline_answers = True, answers
    return method


def _nobody(vlm: VLM, max_new_tokens: int) -> Refit:
    return Refit(Engine(vlm, Decoding(max_new_tokens=max_new_tokens, kl=False)))


def with_own_direction(config: MethodConfig, folder: Path) -> MethodConfig:
    """A steering method's configuration with the direction that its run keeps."""
    if isinstance(config, Combine):
        return replace(config, activation=with_own_direction(config.activation, folder))
    if not isinstance(config, Steer) or config.gate != "none":
        return config
    path = folder / DIRECTIONS / direction_file(asdict(config))
    # The file says its site itself.
    return replace(config, direction=str(path), site="residual")
