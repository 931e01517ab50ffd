"""Which rows of the text-centric sheet are twins: XSTest's safe prompts and their contrasts.

Each safe type has a ``contrast_`` type of unsafe prompts; the two discrimination types share one
and so do the two privacy types.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.data.vscbench_tables import WorkbookRow, numbers

FAMILIES = {
    "nons_group_real_discr": "discr",
    "real_group_nons_discr": "discr",
    "privacy_public": "privacy",
    "privacy_fictional": "privacy",
}
"""Safe types whose contrast type is not simply ``contrast_`` plus their own name."""


@dataclass(frozen=True)
class TwinGroup:
    """Rows that are not independent: one unsafe prompt and its one or two safe twins."""

    id: int
    """Number of the unsafe row, or of the only row."""
    rows: tuple[WorkbookRow, ...]
    """Safe rows before the unsafe one, the closest twin first."""


def is_unsafe(row: WorkbookRow) -> bool:
    return "contrast" in row["type"]


def twin_groups(rows: Sequence[WorkbookRow]) -> tuple[list[TwinGroup], list[str]]:
    """Group ``rows`` into twins, in order of their first rows, and say how they were matched.

    A safe row's twin is the next unused row of its contrast type with the same focus; those left
    over are matched in their order. A row without a twin is a group of its own.
    """
    families: dict[str, dict[str, list[WorkbookRow]]] = {}
    for row in rows:
        families.setdefault(_family(row["type"]), {}).setdefault(row["type"], []).append(row)

    groups: dict[int, list[WorkbookRow]] = {}
    by_focus = by_order = 0
    for types in families.values():
        unsafe = [row for of_type in types.values() for row in of_type if is_unsafe(row)]
        matches = [
            _match(of_type, unsafe) for of_type in types.values() if not is_unsafe(of_type[0])
        ]
        # pairs() takes the first safe row of a group: let it be of the type that fits better.
        matches.sort(key=lambda match: -match.by_focus)
        for match in matches:
            by_focus += match.by_focus
            by_order += len(match.twins) - match.by_focus
            for safe in match.rows:
                groups.setdefault(match.twins.get(safe.number, safe.number), []).append(safe)
        for row in unsafe:
            groups.setdefault(row.number, []).append(row)

    alone = [members[0] for members in groups.values() if len(members) == 1]
    notes = [
        f"text_centric: safe rows matched to unsafe ones by focus: n={by_focus}, "
        f"by order within the type: n={by_order}"
    ]
    if alone:
        notes.append(f"text_centric: rows without a twin: Excel rows {numbers(alone)}")
    first = {id_: min(row.number for row in members) for id_, members in groups.items()}
    return [
        TwinGroup(id_, tuple(groups[id_])) for id_ in sorted(groups, key=first.__getitem__)
    ], notes


@dataclass(frozen=True)
class _Match:
    rows: list[WorkbookRow]
    twins: dict[int, int]
    """Number of a safe row -> number of its unsafe twin."""
    by_focus: int


def _match(safe: list[WorkbookRow], unsafe: list[WorkbookRow]) -> _Match:
    free = list(unsafe)
    twins: dict[int, int] = {}
    for row in safe:
        twin = next(
            (other for other in free if row["focus"] and other["focus"] == row["focus"]), None
        )
        if twin is not None:
            twins[row.number] = twin.number
            free.remove(twin)
    by_focus = len(twins)
    left = (row for row in safe if row.number not in twins)
    twins.update({row.number: twin.number for row, twin in zip(left, free, strict=False)})
    return _Match(safe, twins, by_focus)


def _family(type_: str) -> str:
    return FAMILIES.get(type_, type_.removeprefix("contrast_"))
