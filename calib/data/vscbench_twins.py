"""Match twins among XSTest's prompts (text-centric VSCBench): safe prompts and their contrasts.

Each safe type has a ``contrast_`` type of unsafe prompts. The two discrimination types share a
contrast type, and so do the two privacy types.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.data.vscbench_tables import WorkbookRow, format_row_numbers

FAMILIES = {
    "nons_group_real_discr": "discr",
    "real_group_nons_discr": "discr",
    "privacy_public": "privacy",
    "privacy_fictional": "privacy",
}
"""Family of each type whose contrast type is not named ``contrast_`` plus the type."""


@dataclass(frozen=True)
class TwinGroup:
    """Rows that are not independent: an unsafe prompt and its one or two safe twins."""

    id: int
    """Number of the unsafe row, or of the only row."""
    rows: tuple[WorkbookRow, ...]
    """The safe rows, closest twin first, followed by the unsafe row."""

    @property
    def focus(self) -> str | None:
        """The word that the prompts are about, which other groups may share; None if not stated."""
        words = [row["focus"].casefold() for row in self.rows if row["focus"]]
        return words[-1] if words else None


def is_unsafe(row: WorkbookRow) -> bool:
    return "contrast" in row["type"]


def twin_groups(rows: Sequence[WorkbookRow]) -> tuple[list[TwinGroup], list[str]]:
    """Group ``rows`` into twins, in order of their first rows, with notes on the matching.

    The twin of a safe row is the next unmatched row of its contrast type with the same focus. The
    remaining rows are matched in order. A row without a twin forms its own group.
    """
    families: dict[str, dict[str, list[WorkbookRow]]] = {}
    for row in rows:
        families.setdefault(_family(row["type"]), {}).setdefault(row["type"], []).append(row)

    groups: dict[int, list[WorkbookRow]] = {}
    by_focus = by_order = 0
    for types in families.values():
        unsafe = [row for type_rows in types.values() for row in type_rows if is_unsafe(row)]
        matches = [
            _match(type_rows, unsafe) for type_rows in types.values() if not is_unsafe(type_rows[0])
        ]
        # pairs() uses the first safe row of a group, so the type with more matches comes first.
        matches.sort(key=lambda match: -match.by_focus)
        for match in matches:
            by_focus += match.by_focus
            by_order += len(match.twins) - match.by_focus
            for safe in match.rows:
                groups.setdefault(match.twins.get(safe.number, safe.number), []).append(safe)
        for row in unsafe:
            groups.setdefault(row.number, []).append(row)

    unpaired = [members[0] for members in groups.values() if len(members) == 1]
    notes = [
        f"text_centric: safe rows matched to unsafe rows by focus: n={by_focus}, "
        f"by order within the type: n={by_order}"
    ]
    if unpaired:
        notes.append(
            f"text_centric: rows without a twin: Excel rows {format_row_numbers(unpaired)}"
        )
    first = {id_: min(row.number for row in members) for id_, members in groups.items()}
    return [
        TwinGroup(id_, tuple(groups[id_])) for id_ in sorted(groups, key=first.__getitem__)
    ], notes


@dataclass(frozen=True)
class _Match:
    rows: list[WorkbookRow]
    twins: dict[int, int]
    """Number of the unsafe twin by number of the safe row."""
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
    unmatched = (row for row in safe if row.number not in twins)
    twins.update({row.number: twin.number for row, twin in zip(unmatched, free, strict=False)})
    return _Match(safe, twins, by_focus)


def _family(type_: str) -> str:
    return FAMILIES.get(type_, type_.removeprefix("contrast_"))
