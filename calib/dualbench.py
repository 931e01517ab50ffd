"""Render DUAL-Bench's pictures: harmful and benign twins, plain and perturbed.

python -m calib.dualbench out=FOLDER
"""

from calib.cli import command
from calib.config.commands import DualbenchConfig


def main(config: DualbenchConfig) -> None:
    """Write the pictures of ``config``, a manifest, a README and a contact sheet."""
    from collections import Counter
    from functools import partial

    from calib.config.data import DualBenchData
    from calib.data.benchmarks import load_benchmark
    from calib.data.dualbench.overview import contact_sheet, readme
    from calib.data.dualbench.rendered_set import MANIFEST, write_set
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    if not isinstance(config.data, DualBenchData):
        raise CalibError(
            "unsupported", f"data={config.data.name} has no pictures to render. Use data=dualbench."
        )
    if config.data.root is not None:
        raise CalibError(
            "conflicting-settings",
            f"data.root={config.data.root} is already rendered. Omit it here; calib.sweep "
            "data=dualbench reads the pictures from data.root.",
        )
    folder = home_expanded(config.out)
    benchmark = load_benchmark(config.data)
    command.print_notes(benchmark.notes)
    others = {
        "README.md": partial(readme, benchmark, config.data),
        "contact_sheet.png": partial(contact_sheet, benchmark.examples),
    }
    write_set(benchmark.examples, folder, others)
    variants = Counter(example.variant for example in benchmark.examples)
    pairs = len({example.pair for example in benchmark.examples})
    categories = len({example.category for example in benchmark.examples})
    print(
        f"{len(benchmark.examples):,} pictures: {pairs:,} twins in {categories} categories, "
        + ", ".join(f"{variant} {number:,}" for variant, number in variants.items())
    )
    for name in (MANIFEST, *others):
        print(terminal_safe(str(folder / name)))


if __name__ == "__main__":
    command.run(main, "dualbench", DualbenchConfig)
