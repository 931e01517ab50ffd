"""Write the direction of a run to a file, for calib or for other programs, with a card.

python -m calib.export run=runs/NAME
"""

from calib.cli import command
from calib.config.commands import ExportConfig


def main(config: ExportConfig) -> None:
    """Export the direction that ``config`` names."""
    import dataclasses

    from calib.directions.direction import read_direction, write_direction
    from calib.directions.separation import best_layer, chance_note
    from calib.interchange.formats import select_layers
    from calib.interchange.writing import write_direction_as
    from calib.models.load import load
    from calib.report.card import card_path, command_line, direction_card, no_strength_note
    from calib.report.sentences import verdict_note
    from calib.runs.export import (
        chosen_direction,
        default_path,
        export_path,
        exported_method,
        push,
        target_model,
        test_totals,
    )
    from calib.runs.run import Run
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded, write_atomically
    from calib.util.terminal import terminal_safe

    if (config.run is None) == (config.direction is None):
        code = "missing-setting" if config.run is None else "conflicting-settings"
        raise CalibError(code, "Give either run=FOLDER (a finished sweep) or direction=FILE.")
    run = Run.load(config.run) if config.run is not None else None
    if run is not None:
        direction, results = chosen_direction(run), test_totals(run)
        verdict = verdict_note(run, exported_method(run))
        direction = dataclasses.replace(direction, verdict=verdict)
    else:
        direction, results = read_direction(home_expanded(str(config.direction))), []
    if direction.auroc:
        chosen = direction.chosen_layer
        at = chosen if chosen in direction.layers else best_layer(direction)
        command.print_notes(filter(None, [chance_note(direction, at, chosen=False)]))
    if direction.verdict:
        command.print_notes([f"the verdict of the run is not yes. {direction.verdict}"])
    default = default_path(run.folder if run else None, config.format)
    out = export_path(config.out, config.format) if config.out else default
    if config.format == "native":
        if out.suffix != ".safetensors":
            raise CalibError(
                "invalid-setting", f"out={out} must be a file that ends in .safetensors."
            )
        direction = select_layers(direction, config.layers, config.strength)
        write_direction(out, direction)
        card = direction_card(direction, results, out.name)
        use, strength_note = command_line(direction, str(out)), no_strength_note(direction)
    else:
        model = target_model(config.model, direction, run)
        written = write_direction_as(
            direction, config.format, out, lambda: load(model), config.layers, config.strength
        )
        command.print_notes(written.notes)
        use, strength_note = written.usage, no_strength_note(written.direction, "strength")
        card = direction_card(
            written.direction, results, out.name, use=use, fits=written.scope, note=written.note
        )
    write_atomically(card_path(out), card)
    print(f"direction  {terminal_safe(str(out))}\ncard       {terminal_safe(str(card_path(out)))}")
    print("steer with it:" if "\n" in use else f"steer with it: {terminal_safe(use)}")
    for line in use.split("\n") if "\n" in use else []:
        print(f"    {terminal_safe(line)}")
    if strength_note:
        print(strength_note)
    if config.push is not None:
        print(
            f"pushed to  {terminal_safe(push(config.push, out, card, direction, config.private))}"
        )


if __name__ == "__main__":
    command.run(main, "export", ExportConfig)
