"""Write the direction a run chose as a file that others can use, with a card.

python -m calib.export run=runs/NAME
"""

from calib import command
from calib.config import ExportConfig


def main(config: ExportConfig) -> None:
    """Export the direction that ``config`` names."""
    from pathlib import Path

    from calib.directions.direction import read_direction, write_direction
    from calib.errors import CalibError
    from calib.files import write_atomically
    from calib.report.card import command_line, direction_card
    from calib.report.terminal import printable
    from calib.runs.export import chosen_direction, measured

    if (config.run is None) == (config.direction is None):
        raise CalibError("give either run=FOLDER (of a finished sweep) or direction=FILE.")
    if config.run is not None:
        folder = Path(config.run).expanduser()
        direction, results = chosen_direction(folder), measured(folder)
        place = folder / "export" / "direction.safetensors"
    else:
        direction, results = read_direction(Path(str(config.direction)).expanduser()), []
        place = Path("direction.safetensors")
    out = Path(config.out).expanduser() if config.out else place
    if out.suffix != ".safetensors":
        raise CalibError(f"out={out} should be a file that ends in .safetensors.")
    write_direction(out, direction)
    card = out.with_suffix(".md")
    write_atomically(card, direction_card(direction, results, out.name))
    print(f"direction  {printable(str(out))}\ncard       {printable(str(card))}")
    print(f"steer with it: {command_line(direction, str(out))}")


if __name__ == "__main__":
    command.run(main, "export", ExportConfig)
