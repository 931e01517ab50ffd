"""Draw figures of finished runs: all that the runs have data for, or the named ones.

python -m calib.plot runs=[runs/NAME]
"""

from calib.cli import command
from calib.config.commands import PlotConfig


def main(config: PlotConfig) -> None:
    """Draw the figures of the runs that ``config`` names from their files, without a model.

    A figure without data is reported, and is an error if it was named. Errors in one figure are
    raised after the others are drawn.
    """
    from calib.config.checks import one_of
    from calib.report.alarms import mapping_notes
    from calib.report.figures.gallery import FIGURES, NATURAL_COLUMNS
    from calib.report.figures.io import NotDrawn, save
    from calib.runs.distinct_models import with_distinct_models
    from calib.runs.run import Run
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    names = list(dict.fromkeys(FIGURES if config.figures is None else config.figures))
    formats = list(dict.fromkeys(config.formats))
    for name in names:
        one_of("figures", name, tuple(FIGURES))
    runs = with_distinct_models(Run.load_many(config.runs))
    command.print_notes(mapping_notes(runs))
    out = runs[0].folder if config.out is None else home_expanded(config.out)
    drawn: list[str] = []
    without_data: dict[str, CalibError] = {}
    failed: dict[str, CalibError] = {}
    bugs: dict[str, Exception] = {}
    for name in names:
        try:
            figure = FIGURES[name](runs, config.columns or NATURAL_COLUMNS[name])
            paths = save(figure, out / name, formats)
        except NotDrawn as error:
            without_data[name] = error
        except CalibError as error:
            failed[name] = error
        except Exception as error:
            bugs[name] = error
        else:
            drawn.append(name)
            for path in paths:
                print(terminal_safe(str(path)))
    only_reported = config.figures is None and bool(drawn)
    for name, reason in without_data.items() if only_reported else ():
        print(terminal_safe(f"not drawn: {name}: {reason}"))
    errors = failed if only_reported else without_data | failed
    reasons = {name: repr(bug) for name, bug in bugs.items()}
    reasons |= {name: str(problem) for name, problem in errors.items()}
    message = "\n".join(f"{name} was not drawn: {reason}" for name, reason in reasons.items())
    for bug in bugs.values():
        bug.add_note(message)
        raise bug
    for problem in errors.values():
        raise CalibError(problem.code, message)


if __name__ == "__main__":
    command.run(main, "plot", PlotConfig)
