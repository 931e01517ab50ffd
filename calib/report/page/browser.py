"""The data behind the browser of examples: every answer on test, each distinct text once."""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calib.config.choices import LABELS
from calib.data.example import Example
from calib.report.page.images import packed
from calib.report.page.markup import visible
from calib.runs.operating_points import ReportedMethod
from calib.runs.run import Run
from calib.scoring.judged import Judged, counted_label, is_judged, is_correct_response
from calib.scoring.results import BASELINE

VERDICTS = (*LABELS, "right", "wrong", "not judged")
FINISHES = ("stop", "length", "cut", "blocked")
SAFETIES = ("unsafe", "safe", None)
PICTURE_ABSENT, PICTURE_ELSEWHERE = -1, -2
_TEXT_BUDGET = 10_000_000
"""Characters of base64 that answers may take; examples are left out until they fit."""

ShownCell = list[int]
"""Text, verdict, 1 right 0 wrong -1 not known, finish reason, and what was sent, if it was changed;
each but the third by number, -1 where there is none."""
SettingIndex = tuple[str, int | None, float]
"""Method, layer and strength."""


@dataclass(frozen=True)
class Browser:
    """What the page's script reads."""

    data: str
    """JSON, compressed, in base64."""
    pictures: list[str]
    """In base64, by number."""
    shown: int
    total: int
    notes: list[str]


def browser(runs: Sequence[Run], limit: int, pictures: bool, room: int) -> Browser:
    """At most ``limit`` examples of all runs in at most ``room`` characters.

    Kept first are examples that the chosen setting of some method changed from right to wrong or
    back; the rest is drawn by hashing, the same on every machine.
    """
    ranked = [_ranked(one) for one in runs]
    total = sum(map(len, ranked))
    wanted, most = min(limit, total), min(_TEXT_BUDGET, room)
    while True:
        kept = _shared_out(ranked, wanted)
        texts = _Texts()
        data = _data(runs, kept, texts)
        encoded = _encoded(data)
        if len(encoded) <= most or wanted <= 1:
            break
        wanted = int(wanted * min(0.9, 0.95 * most / len(encoded)))
    found = list(zip(data["examples"], _examples(runs, kept), strict=True))
    shown = [example.picture for _, example in found if pictures and example.picture is not None]
    images = packed(shown, room - len(encoded) - 1000)
    numbers = iter(images.places)
    for row, example in found:
        if pictures and example.picture is not None:
            number = next(numbers)
            row[9] = PICTURE_ELSEWHERE if number is None else number
    data["mime"] = images.mime
    shown_count = len(data["examples"])
    notes = _notes(shown_count, total, limit) + images.notes
    return Browser(_encoded(data), images.encoded, shown_count, total, notes)


def _notes(shown: int, total: int, limit: int) -> list[str]:
    if shown == total:
        return []
    why = f"examples={limit}" if shown == min(limit, total) else "the size of the page"
    return [
        f"{shown:,} of {total:,} examples are here ({why}): first those that the chosen setting of "
        "a method changed from right to wrong or back, then others drawn at random (by a hash of "
        "their names, so the same every time). What is counted above is counted over all of them."
    ]


def _ranked(found: Run) -> list[str]:
    """Ids of the examples on test, changed ones first, each group in an order drawn by hashing."""
    rights: dict[tuple[str, SettingIndex], bool] = {}
    for _, one in found.test_rows:
        if is_judged(one):
            place = (one.method, one.layer, one.strength)
            rights[one.example_id, place] = is_correct_response(one, found.mapping)
    chosen = [stops[first] for _, stops, first in _methods(found)]
    before: SettingIndex = (BASELINE, None, 0.0)

    def changed(name: str) -> bool:
        old = rights.get((name, before))
        return any(rights.get((name, place), old) != old for place in chosen)

    names = _names(found)
    return sorted(names, key=lambda name: (not changed(name), _hash(name)))


def _names(run: Run) -> list[str]:
    """Ids of the examples on test, in the run's order."""
    return list(dict.fromkeys(row.example for row, _ in run.test_rows))


def _shared_out(ranked: Sequence[Sequence[str]], wanted: int) -> list[set[str]]:
    """``wanted`` names over all runs, as evenly as their numbers allow."""
    counts = [0] * len(ranked)
    left = wanted
    while left:
        open_ = [k for k, names in enumerate(ranked) if counts[k] < len(names)]
        if not open_:
            break
        for k in open_[:left]:
            more = min(max(1, left // len(open_)), len(ranked[k]) - counts[k])
            counts[k] += more
        left = wanted - sum(counts)
    return [set(names[:count]) for names, count in zip(ranked, counts, strict=True)]


def _methods(found: Run) -> list[tuple[ReportedMethod, list[SettingIndex], int]]:
    """Each method with the stops of its slider and the one that is shown first: the chosen one, or
    the weakest where the uncalibrated model was kept."""
    asked = {(row.method, row.layer, row.strength) for row, _ in found.test_rows}
    methods = []
    for method in found.methods:
        own = [place for place in asked if place[0] == method.name]
        base: SettingIndex = (BASELINE, None, 0.0)
        stops = sorted(
            [base, *own], key=lambda p: (p[2], -1 if p[1] is None else p[1], p[0] != BASELINE)
        )
        first = method.applied
        methods.append((method, stops, stops.index((first.method, first.layer, first.strength))))
    return methods


def _examples(runs: Sequence[Run], kept: Sequence[set[str]]) -> list[Example]:
    return [
        found.examples[name]
        for found, names in zip(runs, kept, strict=True)
        for name in _names(found)
        if name in names
    ]


def _data(runs: Sequence[Run], kept: Sequence[set[str]], texts: "_Texts") -> dict[str, Any]:
    data: dict[str, Any] = {"verdicts": VERDICTS, "finishes": FINISHES, "runs": [], "examples": []}
    for number, (found, names) in enumerate(zip(runs, kept, strict=True)):
        methods = _methods(found)
        data["runs"].append({"name": visible(found.name), "methods": [_shown(*m) for m in methods]})
        cells = _cells(found, names, texts)
        for name in _names(found):
            if name not in names:
                continue
            example = found.examples[name]
            own = cells[name]
            data["examples"].append(
                [
                    number,
                    *map(texts, (name, example.dataset, example.variant, example.category)),
                    SAFETIES.index(example.safety),
                    texts(example.query),
                    texts(example.system),
                    texts(example.answer),
                    PICTURE_ELSEWHERE if name in found.pictured else PICTURE_ABSENT,
                    own.get((BASELINE, None, 0.0)),
                    [[own.get(place) for place in stops] for _, stops, _ in methods],
                ]
            )
    data["texts"] = texts.distinct
    return data


def _shown(method: ReportedMethod, stops: Sequence[SettingIndex], first: int) -> dict[str, Any]:
    layers = {layer for name, layer, _ in stops if name != BASELINE}
    point = method.choice.point

    def named(place: SettingIndex) -> str:
        layer = f", layer {place[1]}" if len(layers) > 1 and place[1] is not None else ""
        return f"{place[2]:+.4g}{layer}".replace("-", "−") if place[2] else f"0{layer}"

    return {
        "name": visible(method.name),
        "means": visible(method.strength_means),
        "layer": method.layer,
        "kept": method.choice.kept_baseline,
        "first": first,
        "stops": [named(place) for place in stops],
        "base": next(k for k, place in enumerate(stops) if place[0] == BASELINE),
        "chosen": -1
        if method.choice.kept_baseline
        else stops.index((point.method, point.layer, point.strength)),
    }


def _cells(
    found: Run, names: set[str], texts: "_Texts"
) -> dict[str, dict[SettingIndex, ShownCell]]:
    cells: dict[str, dict[SettingIndex, ShownCell]] = {name: {} for name in names}
    for row, one in found.test_rows:
        if row.example in names:
            setting = (row.method, row.layer, row.strength)
            cells[row.example][setting] = _cell(found, row.row, one, texts)
    return cells


def _cell(found: Run, row: str, one: Judged, texts: "_Texts") -> ShownCell:
    record, example = found.responses[row], found.examples[one.example_id]
    finish = str(record.get("finish"))
    judged = is_judged(one)
    right = is_correct_response(one, found.mapping) if judged else None
    label = counted_label(one, found.mapping)
    verdict = label or ("not judged" if right is None else "right" if right else "wrong")
    sent = record.get("query")
    return [
        texts(record["response"]),
        VERDICTS.index(verdict),
        -1 if right is None else int(right),
        FINISHES.index(finish) if finish in FINISHES else -1,
        texts(_sent(record) if isinstance(sent, str) and _differs(record, example) else None),
    ]


def _differs(record: dict[str, Any], example: Example) -> bool:
    shown = record.get("demonstrations", 0) != len(example.demonstrations)
    other = record.get("system") != example.system
    return bool(record["query"] != example.query or other or shown)


def _sent(record: dict[str, Any]) -> str:
    """The prompt of a method that changes it."""
    parts = [f"System: {record['system']}"] if record.get("system") else []
    if count := record.get("demonstrations"):
        parts.append(f"[{count} demonstrations]")
    return "\n\n".join([*parts, str(record["query"])])


class _Texts:
    """Distinct texts by number."""

    def __init__(self) -> None:
        self.distinct: list[str] = []
        self._known: dict[str, int] = {}

    def __call__(self, text: str | None) -> int:
        """The number of a text as a page can show it; -1 for none."""
        if text is None:
            return -1
        if text not in self._known:
            self._known[text] = len(self.distinct)
            self.distinct.append(visible(text))
        return self._known[text]


def _encoded(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()
