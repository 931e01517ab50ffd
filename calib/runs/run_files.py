"""The files of a finished run: results, operating points, configuration and examples.

With it every number of a run can be computed again, by another judge too, where the benchmark
itself is not at hand.
"""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calib.config.method import METHODS, Combine
from calib.config.prompts import MethodConfig
from calib.config.sweep import SweepConfig
from calib.data.example import SPLITS, Example, Safety
from calib.scoring.results import Result, write_results
from calib.scoring.tradeoff import OperatingPoint
from calib.util.errors import CalibError
from calib.util.files import read_lines, write_atomically

OPERATING_POINTS_FILE = "operating_points.json"
CONFIG_FILE = "config.yaml"
RESULTS_FILE = "results.csv"


def write_tables(
    folder: Path,
    checkpoint: str,
    results: Sequence[Result],
    chosen: Mapping[str, tuple[int | None, OperatingPoint]],
    axes: Mapping[str, str],
    prompts: Collection[str],
    reference: str | None = None,
) -> dict[str, Path]:
    """Write results.csv and operating_points.json; their paths, by what they are.

    ``chosen`` holds the layer and the operating point of each method, ``axes`` what its strength
    means, ``prompts`` the methods that change the prompt alone, ``reference`` the one of them that
    was asked for comparison only.
    """
    files = {
        "results": folder / RESULTS_FILE,
        "operating points": folder / OPERATING_POINTS_FILE,
    }
    write_results(files["results"], folder.name, checkpoint, results)
    points = [
        {
            "checkpoint": checkpoint,
            "method": method,
            "layer": layer,
            "strength": choice.point.strength,
            "strength_means": axes.get(method, ""),
            "prompt_only": method in prompts,
            "reference": method == reference,
            "chosen_on": "validation",
            "rule": "highest SRA at no more than the tolerance of utility lost"
            if choice.by_utility
            else "highest SRA (no utility was measured)",
            "tolerance": choice.tolerance,
            "kept_uncalibrated": choice.kept_baseline,
        }
        for method, (layer, choice) in chosen.items()
    ]
    write_atomically(files["operating points"], json.dumps(points, indent=2) + "\n")
    return files


def write_config(folder: Path, config: SweepConfig) -> Path:
    """Write the resolved settings of a run."""
    path = folder / CONFIG_FILE
    write_atomically(path, OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))))
    return path


def read_operating_points(folder: Path) -> list[dict[str, Any]]:
    """What a finished run chose: "method", "layer", "strength" and more, for each of its methods.

    Raises CalibError when the run is not finished.
    """
    path = folder / OPERATING_POINTS_FILE
    try:
        points = json.loads(path.read_text())
        if not isinstance(points, list) or not points:
            raise ValueError("it holds no operating point")
        for point in points:
            point["method"], point["layer"], point["strength_means"], float(point["strength"])
        return points
    except FileNotFoundError as error:
        raise CalibError(
            f"'{folder}' has no {OPERATING_POINTS_FILE}: it is not a finished run of calib.sweep. "
            "Run the sweep to its end first (the same command goes on where it stopped)."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibError(f"'{path}' cannot be read ({error}). Run the sweep again.") from error


EXAMPLES_FILE = "examples.jsonl"
_KEPT = {
    **dict.fromkeys(("id", "dataset", "variant", "category", "split", "query"), str),
    **dict.fromkeys(("system", "safety", "pair", "answer"), str | None),
}


def check_distinct(examples: Sequence[Example]) -> None:
    """Raise CalibError where two examples have one id: a record could not tell them apart."""
    known: dict[str, Example] = {}
    for example in examples:
        other = known.setdefault(example.id, example)
        if other is not example:
            raise CalibError(
                f"two examples have the id '{example.id}': one of {other.dataset}, one of "
                f"{example.dataset}. Rename one of them in the data, or leave its part out."
            )


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """One line of JSON per example, each once; "picture" says whether it has one."""
    distinct = {example.id: example for example in examples}
    lines = [
        json.dumps(
            {name: getattr(example, name) for name in _KEPT}
            | {"facts": dict(example.metadata), "picture": example.picture is not None},
            ensure_ascii=False,
        )
        for example in distinct.values()
    ]
    text = "".join(line + "\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def read_examples(path: Path) -> dict[str, Example]:
    """The examples by id, without their pictures.

    Raises CalibError when the file is missing or damaged.
    """
    if not path.exists():
        raise CalibError(
            f"There is no {path}: the run was not finished, or made by an older calib. Give the "
            "sweep's command again; finished rows are not done again."
        )
    found = {}
    for line in read_lines(path, _KEPT | {"facts": dict}):
        if line["safety"] not in (None, *get_args(Safety)) or line["split"] not in SPLITS:
            raise CalibError(
                f"{path}: example '{line['id']}' is of split '{line['split']}' and safety "
                f"'{line['safety']}', which do not exist. Give the sweep's command again."
            )
        facts = {str(key): str(value) for key, value in line["facts"].items()}
        found[line["id"]] = Example(**{name: line[name] for name in _KEPT}, metadata=facts)
    return found


def settings_of(folder: Path) -> dict[str, Any]:
    """All settings of a sweep, by their names.

    Raises CalibError where its configuration is missing or damaged.
    """
    path = folder / CONFIG_FILE
    try:
        # Not resolved: what looks like a variable in somebody's file is a text.
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Give the sweep's command again."
        ) from error
    names = ("model", "method", "methods", "data", "utility", "judge", "generation", "seed")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise CalibError(f"{path} is no configuration of a sweep. Give the sweep's command again.")
    return {str(name): value for name, value in found.items()}


def method_of(settings: dict[str, Any], name: str) -> MethodConfig | None:
    """The method of that name in a run's settings; None where there is none."""
    methods = settings["methods"]
    several = list(methods.values()) if isinstance(methods, dict) else []
    for one in [*(several or [settings["method"]]), settings.get("reference")]:
        if isinstance(one, dict) and one.get("name") == name:
            found = typed(list(METHODS.values()), one)
            assert isinstance(found, MethodConfig)
            return found
    return None


def typed(classes: Sequence[type], given: Any) -> Any:
    """``given`` (settings as a run keeps them) as the class whose fields it has.

    Raises CalibError where none has them: the run was made by another version.
    """
    if isinstance(given, dict):
        for cls in classes:
            if given.keys() == {one.name for one in fields(cls)}:
                inner = {
                    name: typed(list(METHODS.values()), value)
                    if cls is Combine and isinstance(value, dict)
                    else value
                    for name, value in given.items()
                }
                return cls(**inner)
    name = given.get("name", "something") if isinstance(given, dict) else given
    raise CalibError(
        f"the run's settings of '{name}' are not those of this version of calib. Give the sweep's "
        "command again with another out=FOLDER."
    )
