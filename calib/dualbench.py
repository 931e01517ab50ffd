"""Render DUAL-Bench's pictures: harmful and benign twins, as they are and perturbed.

python -m calib.dualbench out=FOLDER
"""

from calib.cli import command
from calib.config.commands import DualbenchConfig


def main(config: DualbenchConfig) -> None:
    """Write the pictures that ``config`` describes, a manifest, a card and a contact sheet."""
    from collections import Counter
    from functools import partial
    from pathlib import Path

    from calib.config.data import DualBenchData
    from calib.data.benchmarks import load_benchmark
    from calib.data.dualbench.overview import card, contact_sheet
    from calib.data.dualbench.written import MANIFEST, write_set
    from calib.util.errors import CalibError
    from calib.util.terminal import terminal_safe

    if not isinstance(config.data, DualBenchData):
        raise CalibError(f"data={config.data.name} has no pictures to render. Give data=dualbench.")
    if config.data.root is not None:
        raise CalibError(
            f"data.root={config.data.root} is already rendered. Leave it away here; with it "
            "calib.sweep data=dualbench reads the pictures."
        )
    folder = Path(config.out).expanduser()
    benchmark = load_benchmark(config.data)
    for note in benchmark.notes:
        print(f"note: {terminal_safe(note)}")
    others = {
        "README.md": partial(card, benchmark, config.data),
        "contact_sheet.png": partial(contact_sheet, benchmark.examples),
    }
    write_set(benchmark.examples, folder, others)
    found = Counter(example.variant for example in benchmark.examples)
    pairs = len({example.pair for example in benchmark.examples})
    categories = len({example.category for example in benchmark.examples})
    print(
        f"{len(benchmark.examples):,} pictures: {pairs:,} twins of {categories} categories, "
        + ", ".join(f"{variant} {number:,}" for variant, number in found.items())
    )
    for name in (MANIFEST, *others):
        print(terminal_safe(str(folder / name)))


if __name__ == "__main__":
    command.run(main, "dualbench", DualbenchConfig)
