"""The data of the page's example browser: every response on test, each distinct text once."""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calib.config.choices import LABELS
from calib.config.method import SettingKey
from calib.data.example import Example
from calib.report.page.images import packed
from calib.report.page.markup import visible
from calib.runs.reported_methods import ReportedMethod
from calib.runs.run import Run
from calib.scoring.judged import Judged, counted_label, is_correct_response, is_judged
from calib.scoring.results import BASELINE

VERDICTS = (*LABELS, "right", "wrong", "not judged")
"""Labels of queries, and marks of questions."""
FINISH_REASONS = ("stop", "length", "cut", "blocked")
SAFETIES = ("unsafe", "safe", None)
NO_PICTURE, PICTURE_MISSING = -1, -2
"""Values in place of a picture's number: the example has none, or it is not in the page. An example
with several pictures has a list of numbers."""
_MAX_TEXT = 10_000_000
"""Maximum number of characters of the compressed texts; examples are left out until they fit."""
_PICTURE_FIELD = 9
_UNCALIBRATED = SettingKey(BASELINE, None, 0.0)

ResponseCell = list[int]
"""Number of the response's text, index in VERDICTS, correctness (1, 0, or -1 if unknown), index in
FINISH_REASONS (-1 for others), number of the prompt's text (-1 if the method did not change it)."""


@dataclass(frozen=True)
class BrowserData:
    """The input of the page's script."""

    data: str
    """JSON, compressed by gzip, in base64."""
    pictures: list[str]
    """Pictures in base64, by number."""
    shown: int
    """Number of examples in the page."""
    total: int
    notes: list[str]


def browser(
    runs: Sequence[Run],
    limit: int,
    pictures: bool,
    room: int,
    best: Sequence[str | None] = (),
) -> BrowserData:
    """Encode at most ``limit`` examples of all runs in at most ``room`` characters.

    ``best`` names the method of each run that is shown first, by default the run's first.

    Examples that the operating point of a method changed from right to wrong or back come first;
    the others are drawn by hashing their ids, so the same on every machine.
    """
    ranked = [_ranked_examples(run) for run in runs]
    total = sum(map(len, ranked))
    count, most = min(limit, total), min(_MAX_TEXT, room)
    while True:
        selected = _select_evenly(ranked, count)
        texts = _Texts()
        data = _data(runs, selected, texts, best or [None] * len(runs))
        encoded = _encoded(data)
        if len(encoded) <= most or count <= 1:
            break
        count = int(count * min(0.9, 0.95 * most / len(encoded)))
    rows = [
        (row, example.pictures)
        for row, example in zip(data["examples"], _examples(runs, selected), strict=True)
        if pictures and example.pictures
    ]
    images = packed(
        [picture for _, of_row in rows for picture in of_row], room - len(encoded) - 1000
    )
    numbers = iter(PICTURE_MISSING if index is None else index for index in images.indices)
    for row, of_row in rows:
        first, *others = [next(numbers) for _ in of_row]
        row[_PICTURE_FIELD] = [first, *others] if others else first
    data["mime"] = images.mime
    shown = len(data["examples"])
    notes = _notes(shown, total, limit) + images.notes
    return BrowserData(_encoded(data), images.encoded, shown, total, notes)


def _notes(shown: int, total: int, limit: int) -> list[str]:
    if shown == total:
        return []
    reason = f"examples={limit}" if shown == min(limit, total) else "the size of the page"
    return [
        f"{shown:,} of {total:,} queries and questions are shown, because of {reason}. Those that "
        "the operating point of a method changed from right to wrong or back come first; the "
        "others are a random sample (drawn by a hash of their ids, so the same every time). The "
        "numbers above are over all of them."
    ]


def _ranked_examples(run: Run) -> list[str]:
    """Return the ids of the examples on test: changed ones first, each group in hash order."""
    correct: dict[tuple[str, SettingKey], bool] = {}
    for _, row in run.test_rows:
        if is_judged(row):
            correct[row.example_id, row.key] = is_correct_response(row, run.mapping)
    chosen = [stops[first] for _, stops, first in _methods(run)]

    def changed(example: str) -> bool:
        before = correct.get((example, _UNCALIBRATED))
        return any(correct.get((example, setting), before) != before for setting in chosen)

    return sorted(_tested_examples(run), key=lambda name: (not changed(name), _hash(name)))


def _tested_examples(run: Run) -> list[str]:
    """Return the ids of the examples on test, in the run's order."""
    return list(dict.fromkeys(row.example for row, _ in run.test_rows))


def _select_evenly(ranked: Sequence[Sequence[str]], count: int) -> list[set[str]]:
    """Select ``count`` examples over all runs, as evenly as their numbers allow."""
    counts = [0] * len(ranked)
    left = count
    while left:
        unfinished = [k for k, names in enumerate(ranked) if counts[k] < len(names)]
        if not unfinished:
            break
        for k in unfinished[:left]:
            share = max(1, left // len(unfinished))
            counts[k] += min(share, len(ranked[k]) - counts[k])
        left = count - sum(counts)
    return [set(names[:own]) for names, own in zip(ranked, counts, strict=True)]


def _methods(run: Run) -> list[tuple[ReportedMethod, list[SettingKey], int]]:
    """Return each method with the stops of its slider and the index of the one shown first.

    That is the operating point, or the weakest setting if the uncalibrated model was kept.
    """
    settings = {row.key for row, _ in run.test_rows}
    methods = []
    for method in run.methods:
        own = [setting for setting in settings if setting.method == method.name]
        stops = sorted([_UNCALIBRATED, *own], key=_stop_order)
        methods.append((method, stops, stops.index(method.applied.key)))
    return methods


def _stop_order(setting: SettingKey) -> tuple[float, int, bool]:
    layer = -1 if setting.layer is None else setting.layer
    return setting.strength, layer, setting.method != BASELINE


def _examples(runs: Sequence[Run], selected: Sequence[set[str]]) -> list[Example]:
    return [
        run.examples[name]
        for run, names in zip(runs, selected, strict=True)
        for name in _tested_examples(run)
        if name in names
    ]


def _data(
    runs: Sequence[Run],
    selected: Sequence[set[str]],
    texts: "_Texts",
    best: Sequence[str | None],
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "verdicts": VERDICTS, "finishes": FINISH_REASONS, "runs": [], "examples": [],
    }  # fmt: skip
    for number, (run, chosen) in enumerate(zip(runs, selected, strict=True)):
        methods = _methods(run)
        names = [method.name for method, _, _ in methods]
        data["runs"].append(
            {
                "name": visible(run.name),
                "methods": [_method_data(*m) for m in methods],
                "best": next((k for k, name in enumerate(names) if name == best[number]), 0),
            }
        )
        cells = _cells(run, chosen, texts)
        for example in _examples([run], [chosen]):
            own = cells[example.id]
            text_fields = (example.id, example.dataset, example.variant, example.category)
            data["examples"].append(
                [
                    number,
                    *map(texts, text_fields),
                    SAFETIES.index(example.safety),
                    texts("\n\n".join(filter(None, [example.earlier_turns, example.query]))),
                    texts(example.system),
                    texts(example.answer),
                    PICTURE_MISSING if example.id in run.pictured else NO_PICTURE,
                    own.get(_UNCALIBRATED),
                    [[own.get(setting) for setting in stops] for _, stops, _ in methods],
                ]
            )
    data["texts"] = texts.distinct
    return data


def _method_data(method: ReportedMethod, stops: Sequence[SettingKey], first: int) -> dict[str, Any]:
    layers = {setting.layer for setting in stops if setting.method != BASELINE}

    def name(setting: SettingKey) -> str:
        has_layer = len(layers) > 1 and setting.layer is not None
        layer = f", layer {setting.layer}" if has_layer else ""
        strength = f"{setting.strength:+.4g}".replace("-", "−") if setting.strength else "0"
        return f"{strength}{layer}"

    kept = method.choice.kept_baseline
    return {
        "name": visible(method.name),
        "means": visible(method.strength_means),
        "layer": method.layer,
        "kept": kept,
        "first": first,
        "stops": [name(setting) for setting in stops],
        "base": stops.index(_UNCALIBRATED),
        "chosen": -1 if kept else stops.index(method.choice.point.key),
    }


def _cells(run: Run, names: set[str], texts: "_Texts") -> dict[str, dict[SettingKey, ResponseCell]]:
    cells: dict[str, dict[SettingKey, ResponseCell]] = {name: {} for name in names}
    for row, judged in run.test_rows:
        if row.example in names:
            cells[row.example][row.key] = _cell(run, row.row, judged, texts)
    return cells


def _cell(run: Run, row_id: str, judged: Judged, texts: "_Texts") -> ResponseCell:
    record, example = run.responses[row_id], run.examples[judged.example_id]
    finish = str(record.get("finish"))
    correct = is_correct_response(judged, run.mapping) if is_judged(judged) else None
    mark = "not judged" if correct is None else "right" if correct else "wrong"
    changed = isinstance(record.get("query"), str) and _prompt_differs(record, example)
    return [
        texts(record["response"]),
        VERDICTS.index(counted_label(judged, run.mapping) or mark),
        -1 if correct is None else int(correct),
        FINISH_REASONS.index(finish) if finish in FINISH_REASONS else -1,
        texts(_prompt_text(record) if changed else None),
    ]


def _prompt_differs(record: dict[str, Any], example: Example) -> bool:
    demonstrations = record.get("demonstrations", 0) != len(example.demonstrations)
    system = record.get("system") != example.system
    return bool(record["query"] != example.query or system or demonstrations)


def _prompt_text(record: dict[str, Any]) -> str:
    """Return the prompt that was sent for a response."""
    parts = [f"System: {record['system']}"] if record.get("system") else []
    if count := record.get("demonstrations"):
        parts.append(f"[{count} demonstrations]")
    return "\n\n".join([*parts, str(record["query"])])


class _Texts:
    """Distinct texts, numbered in order of appearance."""

    def __init__(self) -> None:
        self.distinct: list[str] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str | None) -> int:
        """Return the number of ``text``, -1 for None."""
        if text is None:
            return -1
        if text not in self._numbers:
            self._numbers[text] = len(self.distinct)
            self.distinct.append(visible(text))
        return self._numbers[text]


def _encoded(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()
