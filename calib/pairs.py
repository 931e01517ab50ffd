"""Check a table of your own pairs, or write a template to fill in.

python -m calib.pairs new=FOLDER
python -m calib.pairs check=FOLDER/pairs.xlsx
"""

from calib.cli import command
from calib.config.commands import PairsConfig

LISTED = 500
"""Most faults that are printed."""


def main(config: PairsConfig) -> None:
    """Print every fault, counts and what works with the data of ``config``; or write a template.

    Raises CalibError if the data has a fault.
    """
    from dataclasses import replace

    from calib.config.data import PairsData
    from calib.data.own.check import check
    from calib.data.own.template import write_template
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded
    from calib.util.listing import shortened
    from calib.util.terminal import terminal_safe

    if config.new is not None:
        files = write_template(home_expanded(config.new))
        for path in files:
            print(terminal_safe(str(path)))
        print(terminal_safe(f"Fill it in, and check it: python -m calib.pairs check={files[0]}"))
        return
    if not isinstance(config.data, PairsData):
        raise CalibError(
            "unsupported",
            f"data={config.data.name} is not a table of your own. Use data=pairs, or omit it.",
        )
    checked = check(replace(config.data, file=config.check or config.data.file))
    command.print_notes(checked.notes)
    if checked.works:
        print("", *map(terminal_safe, checked.counts), "", sep="\n")
        print(*map(terminal_safe, checked.works), sep="\n")
    if not checked.faults:
        print("No faults.")
        return
    print()
    for fault in shortened(checked.faults, LISTED):
        print(terminal_safe(f"- {fault}"))
    count = len(checked.faults)
    raise CalibError(
        "invalid-content",
        f"{config.check or config.data.file} has {count} fault{'s' * (count > 1)}, listed above; "
        "the counts are without these rows. Correct them, and run the command again.",
    )


if __name__ == "__main__":
    command.run(main, "pairs", PairsConfig)
