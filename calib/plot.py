"""Draw finished runs: every figure that their records hold, or those that are asked for.

python -m calib.plot runs=[runs/NAME]
"""

from calib.cli import command
from calib.config.commands import PlotConfig


def main(config: PlotConfig) -> None:
    """Draw the runs that ``config`` names from their results, without asking the model again.

    Figures that these runs hold nothing for are told, and are an error where they were asked for by
    name. What goes wrong with one is told when the others are drawn.
    """
    from calib.config.checks import one_of
    from calib.report.figures.gallery import FIGURES, NATURAL_COLUMNS
    from calib.report.figures.io import NotDrawn, save
    from calib.runs.run import Run
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    names = list(dict.fromkeys(FIGURES if config.figures is None else config.figures))
    formats = list(dict.fromkeys(config.formats))
    for name in names:
        one_of("figures", name, tuple(FIGURES))
    runs = Run.load_many(config.runs)
    out = runs[0].folder if config.out is None else home_expanded(config.out)
    drawn: list[str] = []
    lacking: dict[str, str] = {}
    failed: dict[str, str] = {}
    bug: Exception | None = None
    for name in names:
        try:
            figure = FIGURES[name](runs, config.columns or NATURAL_COLUMNS[name])
            paths = save(figure, out / name, formats)
        except NotDrawn as error:
            lacking[name] = str(error)
        except CalibError as error:
            failed[name] = str(error)
        except Exception as error:
            failed[name], bug = repr(error), bug or error
        else:
            drawn.append(name)
            for path in paths:
                print(terminal_safe(str(path)))
    told = config.figures is None and bool(drawn)
    for name, why in lacking.items() if told else ():
        print(terminal_safe(f"not drawn: {name}: {why}"))
    wrong = failed if told else lacking | failed
    message = "\n".join(f"{name} was not drawn: {why}" for name, why in wrong.items())
    if bug is not None:
        bug.add_note(message)
        raise bug
    if wrong:
        raise CalibError(message)


if __name__ == "__main__":
    command.run(main, "plot", PlotConfig)
