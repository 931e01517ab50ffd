"""Convert a checkpoint in the original LLaVA-1.5 format (VLGuard's) to that of transformers.

python -m calib.convert source=ys-zong/llava-v1.5-7b-Mixed out=converted/llava-v1.5-7b-Mixed
"""

from calib.cli import command
from calib.config.commands import ConvertConfig
from calib.config.quoting import shell_override


def main(config: ConvertConfig) -> None:
    """Write the checkpoint that ``config`` names as a folder for model.checkpoint."""
    from calib import __version__
    from calib.models.checkpoints.conversion import convert, require_absent, write_checkpoint
    from calib.models.checkpoints.original_llava import download_checkpoint
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    out = home_expanded(config.out)
    require_absent(out)
    folder, commit = download_checkpoint(config.source, config.revision)
    converted = convert(folder, config.skeleton, config.skeleton_revision)
    notes = [
        f"{converted.num_weights} weights come from the checkpoint, in "
        f"{str(converted.vlm.model.dtype).removeprefix('torch.')}",
        *converted.notes,
    ]
    at = f" at {commit}" if commit else ""
    origin = [
        f"# {out.name}",
        "",
        f"Converted by calib {__version__} from {config.source}{at}, in the original LLaVA-1.5 "
        f"format, with {config.skeleton} as the skeleton (processor, weight names, image tokens). "
        "The licences of both apply.",
        "",
        *(f"- {note}" for note in notes),
    ]
    write_checkpoint(converted, out, "\n".join(origin) + "\n")
    command.print_notes(notes)
    print(f"checkpoint {terminal_safe(str(out))}")
    checkpoint = shell_override("model.checkpoint", str(out))
    print(f"run it: python -m calib.sweep model=vlguard {terminal_safe(checkpoint)}")


if __name__ == "__main__":
    command.run(main, "convert", ConvertConfig)
