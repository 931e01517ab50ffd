"""Import third-party steering vectors, or a direction from the Hugging Face hub.

python -m calib.import file=FILE format=gguf
"""

from calib.cli import command
from calib.config.commands import ImportConfig


def main(config: ImportConfig) -> None:
    """Write the direction that ``config`` names as a native direction file, with a card."""

    from calib.directions.direction import read_direction, write_direction
    from calib.directions.fit import require_match
    from calib.interchange.hub import from_hub
    from calib.interchange.importing import import_direction, origin
    from calib.models.load import load
    from calib.report.card import card_path, command_line, direction_card, no_strength_note
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded, write_atomically
    from calib.util.terminal import terminal_safe

    out = home_expanded(config.out)
    if out.suffix != ".safetensors":
        raise CalibError("invalid-setting", f"out={out} must be a file that ends in .safetensors.")
    note = ""
    if config.format == "native":
        if config.hub is not None:
            direction = from_hub(config.hub, config.revision, config.hub_file)
            source = config.hub
        else:
            direction = read_direction(home_expanded(str(config.file)))
            source = str(config.file)
        command.print_notes(require_match(direction, load(config.model), source))
    else:
        path = home_expanded(str(config.file))
        imported = import_direction(
            path, config.format, load(config.model), config.layers, config.shift
        )
        direction, note = imported.direction, origin(imported)
        command.print_notes([note])
    write_direction(out, direction)
    card = card_path(out)
    write_atomically(card, direction_card(direction, [], out.name, note=note))
    print(f"direction  {terminal_safe(str(out))}\ncard       {terminal_safe(str(card))}")
    print(f"layers     {', '.join(map(str, direction.layers))}")
    print(f"steer with it: {command_line(direction, str(out))}")
    if strength_note := no_strength_note(direction):
        print(strength_note)


if __name__ == "__main__":
    command.run(main, "import", ImportConfig)
