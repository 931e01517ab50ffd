"""Check a table of pairs: every fault with its row, counts, and what works with this data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calib.config.choices import SPLITS
from calib.config.data import PairsData
from calib.data.example import Example, Pair, pairs
from calib.data.images import PictureFile
from calib.data.own.faults import Faults
from calib.data.own_pairs import read
from calib.data.split_levels import split_by_level, with_query_groups
from calib.util.errors import CalibError

FEW_CLUSTERS = 100
"""Independent clusters in the test split that a conclusion needs, about."""


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    notes: list[str]
    counts: list[str]
    """Lines of a table: queries, pairs and clusters by part and by split."""
    works: list[str]
    """Sentences on what works with this data, and how to go on."""
    faults: list[str]


def check(config: PairsData) -> Checked:
    """Read all of a table and open every picture.

    Raises CalibError where no row can be read, as calib.data.own_pairs.read does.
    """
    own = read(config)
    examples = split_by_level(
        with_query_groups(own.examples),
        config.split_by,
        config.split_seed,
        config.train,
        config.validation,
        own.stated_splits,
    )
    _check_pictures(examples, own.faults)
    found = pairs(examples)
    works = _what_works(examples, found) if examples else []
    faults = [str(error) for error in own.faults.found]
    return Checked(own.notes, _counts(examples, found), works, faults)


def _check_pictures(examples: Iterable[Example], faults: Faults) -> None:
    """Collect a fault for each cell whose picture cannot be read."""
    errors: dict[object, CalibError | None] = {}
    for example in examples:
        for picture in example.pictures:
            if picture not in errors:
                errors[picture] = None
                try:
                    picture()
                except CalibError as error:
                    errors[picture] = error
            where = picture.where if isinstance(picture, PictureFile) else ""
            if found := errors[picture]:
                with faults.collected():
                    raise CalibError(found.code, f"{where}: {found}" if where else str(found))


def _counts(examples: Sequence[Example], found: Sequence[Pair]) -> list[str]:
    """A table by part and by split, with a line for each."""
    groups = {example.dataset: "dataset" for example in examples}
    groups |= {split: "split" for split in SPLITS}
    width = max(map(len, groups), default=0)
    lines = [f"{'':{width}}  {'safe':>6} {'unsafe':>6} {'pairs':>6} {'clusters':>8}"]
    for name, key in groups.items():
        members = [example for example in examples if getattr(example, key) == name]
        paired = sum(getattr(pair.unsafe, key) == name for pair in found)
        safe = sum(example.safety == "safe" for example in members)
        clusters = len({example.cluster for example in members})
        lines.append(
            f"{name:{width}}  {safe:>6} {len(members) - safe:>6} {paired:>6} {clusters:>8}"
        )
    return lines


def _what_works(examples: Sequence[Example], found: Sequence[Pair]) -> list[str]:
    by_split = {split: [e for e in examples if e.split == split] for split in SPLITS}
    lines = []
    train = [pair for pair in found if pair.safe.split == "train"]
    if train:
        fitted = f"{len(train)} pairs are" if len(train) > 1 else "1 pair is"
        lines.append(f"Every method can be fitted: {fitted} in the train split.")
    elif found:
        lines.append(
            "Methods that are fitted cannot run: no pair is in the train split. Prompt methods "
            "can. Add pairs, or raise data.train."
        )
    else:
        lines.append(
            "Prompt methods (such as method=caution) and a direction fitted on other pairs "
            "(method=steer method.direction=FILE) work. Methods that are fitted do not: no query "
            "has a twin. Write the twin of each query, with the same id in column 'pair'."
        )
    if empty := [split for split in ("validation", "test") if not by_split[split]]:
        lines.append(
            f"A sweep is refused: the {' and the '.join(empty)} split is empty. Add rows, or a "
            "column 'split'."
        )
        return lines
    clusters = len({example.cluster for example in by_split["test"]})
    if clusters < FEW_CLUSTERS:
        lines.append(
            f"The test split has {clusters} independent cluster{'s' * (clusters != 1)}, enough to "
            f"try a sweep. A conclusion needs about {FEW_CLUSTERS}."
        )
    sides = {example.safety for example in examples}
    if len(sides) == 1:
        (side,) = sides
        lines.append(f"Every query is {side}: effects on the other side cannot be measured.")
    return lines
