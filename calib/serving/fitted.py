"""A run's method again, fitted from what the run's folder holds; the folder stays as it is."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from calib import methods
from calib.config import GenerationConfig
from calib.config_data import DATA, UTILITIES, PublishedData
from calib.config_judges import JUDGES
from calib.config_methods import Combine, Steer
from calib.config_prompts import Dialogued, MethodConfig, NoneMethod, Worded
from calib.data.benchmarks import load_benchmark, load_utility
from calib.data.example import Example
from calib.engine.decoding import Asked, Decoding
from calib.engine.generate import Engine
from calib.engine.reading import read_activations
from calib.errors import CalibError
from calib.judges.choose import choose_judge, sees_pictures
from calib.runs.asking import Asking
from calib.runs.export import direction_file
from calib.runs.judging import VERDICTS_FILE, Judging
from calib.runs.planning import Planner
from calib.runs.record import ROWS_FILE, Rows
from calib.runs.study import DIRECTIONS
from calib.serving.kept import typed
from calib.settings.contrasts import Answer
from calib.settings.fitting import READ_ROWS, Fitting
from calib.settings.method import Method
from calib.vlm.layers import Site
from calib.vlm.load import MINI, VLM
from calib.vlm.prompts import Positions


class ServedFitting(Fitting):
    """What a served method looks at: once it is fitted, nothing is kept of what requests show."""

    serving = False

    def read(
        self,
        examples: Sequence[Example],
        layers: Sequence[int],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of examples. # [examples, layers, width] float32"""
        if not self.serving:
            return super().read(examples, layers, positions, site)
        where = cast(Positions, positions), cast(Site, site)
        return read_activations(
            self.vlm, examples, where[0], READ_ROWS, None, list(layers), where[1]
        )


@dataclass
class Afresh:
    """What the uncalibrated model answers to a method's own questions, kept nowhere."""

    engine: Engine

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[Answer]:
        if judged:
            raise CalibError(
                f"the method wants labels of new answers ({purpose}), and nothing is judged while "
                "a model is served. Serve another method."
            )
        found = self.engine.answer([Asked(example) for example in examples])
        return [Answer(response.text, None) for response in found]


def needs_data(config: MethodConfig) -> bool:
    """Whether a method can be fitted only with a benchmark's examples."""
    if isinstance(config, Combine):
        return needs_data(config.prompt) or needs_data(config.activation)
    if isinstance(config, Steer):
        return config.direction is None or config.gate != "none"
    return not isinstance(config, NoneMethod | Worded | Dialogued)


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
        with Rows.open(place / ROWS_FILE) as record:
            exact = vlm.checkpoint == MINI
            chosen = choose_judge(judge, name, exact)
            judging = Judging(chosen, place, sees_pictures(judge))
            asking = Asking(Planner(Engine(vlm, decoding)), record, judging)
            fitting = ServedFitting(vlm, examples, utility, asking, place)
            return _built(fitting, config, _nobody(vlm, generation.max_new_tokens))


def _built(fitting: ServedFitting, config: MethodConfig, answers: Afresh) -> Method:
    method = methods.build(fitting, config)
    fitting.serving, fitting.answers = True, answers
    return method


def _nobody(vlm: VLM, max_new_tokens: int) -> Afresh:
    return Afresh(Engine(vlm, Decoding(max_new_tokens=max_new_tokens, kl=False)))


def with_own_direction(config: MethodConfig, folder: Path) -> MethodConfig:
    """A steering method's configuration with the direction that its run keeps."""
    if isinstance(config, Combine):
        return replace(config, activation=with_own_direction(config.activation, folder))
    if not isinstance(config, Steer) or config.gate != "none":
        return config
    path = folder / DIRECTIONS / direction_file(asdict(config))
    # The file says its site itself.
    return replace(config, direction=str(path), site="residual")
