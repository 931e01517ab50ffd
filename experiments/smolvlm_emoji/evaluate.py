"""Evaluate smolvlm_emoji against its floors.

    python -m experiments.smolvlm_emoji.evaluate checkpoint=FOLDER [out=FILE.csv] [limit=N]
        [run=FOLDER]

Prints a line per figure with n, the number of clusters and a 95% interval by cluster (a thing), and
the floors that are missed. Greedy decoding, float32, on Twitter's drawings of 200 common things,
which training never shows. ``run`` is the folder of training: with it the nearest-neighbour bar is
computed, from the kept outputs of the untuned tower. ``limit`` takes the first N things.
"""

import csv
import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from calib.config.model import ModelConfig
from calib.data.example import Example
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.load import VLM, load
from calib.scoring.intervals import Interval, clustered_rate
from experiments import command
from experiments.smolvlm_emoji.augment import shown
from experiments.smolvlm_emoji.drawings import Drawings, load_drawings
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.nearest import nearest_names, pooled
from experiments.smolvlm_emoji.pairs import NAME_QUERY
from experiments.smolvlm_emoji.plain_text import PLAIN_TEXT
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.tower import downloaded_tower

NAMED_FLOOR, FORM_FLOOR, PERPLEXITY_CEILING = 0.60, 0.95, 1.02
OPEN_QUERIES = (
    "Describe the picture.", "What could this be used for?", "Tell me a short story about this.",
    "Is there anything unusual in the picture?",
)  # fmt: skip
"""Further queries, for the form of responses only."""

Figures = dict[str, Interval]


def main(
    checkpoint: str, out: Path | None = None, limit: int | None = None, run: Path | None = None
) -> None:
    """Compute, print and write all figures."""
    vlm = load(ModelConfig(name="smolvlm_emoji", checkpoint=checkpoint))
    cache = default_cache()
    drawings = load_drawings(cache)
    rows = held_out_rows(drawings, limit)
    figures = response_figures(vlm, drawings, rows)
    if run is not None:
        figures["nearest neighbour names"] = bar(drawings, rows, cache, run)
    language, tokenizer = text_model(cache)
    ratio = perplexity(vlm.model, vlm.processor.tokenizer) / perplexity(language, tokenizer)
    for name, f in figures.items():
        print(f"{name:<40} {f.value:.3f} ({f.low:.3f} to {f.high:.3f}), n={f.n} ({f.clusters})")
    print(f"perplexity relative to SmolLM2's         {ratio:.4f}")
    missed = missed_floors(figures, ratio)
    print("\nall floors met" if not missed else "\nfloors missed: " + "; ".join(missed))
    if out:
        write(out, figures, ratio, vlm)


def held_out_rows(drawings: Drawings, limit: int | None) -> list[int]:
    """Indices of the held-out drawings of the first ``limit`` things."""
    rows = np.flatnonzero(drawings.held_out)
    things = list(dict.fromkeys(drawings.names[row] for row in rows))[:limit]
    return [int(row) for row in rows if drawings.names[row] in things]


def response_figures(vlm: VLM, drawings: Drawings, rows: Sequence[int]) -> Figures:
    """Share of drawings that are named, and of well-formed responses."""
    examples = [_example(drawings, row, NAME_QUERY) for row in rows]
    further = [
        _example(drawings, row, OPEN_QUERIES[k % len(OPEN_QUERIES)]) for k, row in enumerate(rows)
    ]
    requests = [Request(example) for example in (*examples, *further)]
    texts = [r.text for r in generate(vlm, requests, Decoding(max_new_tokens=48, kl=False))]
    names = [drawings.names[row] for row in rows]
    for name, text in list(zip(names, texts, strict=False))[:20]:
        print(f"{name}: {text}")
    known = set(drawings.names)
    named = [says(text, name, known) for name, text in zip(names, texts, strict=False)]
    formed = [is_well_formed(ended(text)) for text in texts]
    return {
        "names of held-out drawings": clustered_rate(named, names),
        "well-formed answers to that": clustered_rate(formed[: len(rows)], names),
        "well-formed responses": clustered_rate(formed, names * 2),
    }


def _example(drawings: Drawings, row: int, query: str) -> Example:
    def picture():
        return shown(drawings.pictures[row])

    return Example(f"{row} {query}", "utility", "name", "thing", "test", query, picture)


def says(response: str, name: str, names: Collection[str]) -> bool:
    """Whether the first of all known ``names`` in a response is this one, singular or plural.

    Of names that begin at the same word the longest counts, and words that belong to a longer name
    are not a name of their own: "a hot dog" is not a dog.
    """
    known = "|".join(
        map(re.escape, sorted({n.lower() for n in (*names, name)}, key=len, reverse=True))
    )
    found = re.search(rf"\b({known})(?:s|es)?\b", response.lower())
    return found is not None and found[1] == name.lower()


def ended(response: str) -> str:
    """A response without a last sentence that the token limit cut."""
    whole = re.search(r"^.*[.!?][\"')]?(?=\s|$)", response.strip(), re.DOTALL)
    return whole.group() if whole else response


def bar(drawings: Drawings, rows: Sequence[int], cache: Path, run: Path) -> Interval:
    """Share of drawings whose nearest training drawing has the same name."""
    tower = downloaded_tower(cache)
    grids = kept_grids(tower, drawings, 1, run / "grids", 0)
    nearest = nearest_names(pooled(tower, grids, len(drawings.names)), drawings)
    names = [drawings.names[row] for row in rows]
    hits = [nearest[row] == name for row, name in zip(rows, names, strict=True)]
    return clustered_rate(hits, names)


@torch.no_grad()
def perplexity(model: torch.nn.Module, tokenizer) -> float:
    """Of the model on PLAIN_TEXT, each passage on its own."""
    total, count = 0.0, 0
    for passage in PLAIN_TEXT:
        ids = tokenizer(passage, return_tensors="pt", add_special_tokens=False)["input_ids"]
        logits = model(input_ids=ids).logits[0, :-1].float()
        total += F.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return math.exp(total / count)


def missed_floors(figures: Figures, ratio: float) -> list[str]:
    """The floors that these figures do not meet."""
    named = figures["names of held-out drawings"].value
    formed = figures["well-formed responses"].value
    needed = NAMED_FLOOR
    if "nearest neighbour names" in figures:
        needed = max(needed, figures["nearest neighbour names"].value)
    missed = []
    if named < needed:
        missed.append(f"names {named:.3f} < {needed:.3f}")
    if formed < FORM_FLOOR:
        missed.append(f"well-formed responses {formed:.3f} < {FORM_FLOOR}")
    if ratio > PERPLEXITY_CEILING:
        missed.append(f"perplexity {ratio:.3f} times SmolLM2's > {PERPLEXITY_CEILING}")
    return missed


def write(path: Path, figures: Figures, ratio: float, vlm: VLM) -> None:
    """Write a CSV with a line per figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fingerprint", "figure", "value", "low", "high", "n", "clusters"])
        for name, f in figures.items():
            numbers = [f"{value:.4f}" for value in (f.value, f.low, f.high)]
            writer.writerow([vlm.fingerprint, name, *numbers, f.n, f.clusters])
        writer.writerow([vlm.fingerprint, "perplexity ratio", f"{ratio:.4f}", "", "", "", ""])


if __name__ == "__main__":
    command.run(
        main,
        __doc__,
        checkpoint=command.text,
        out=command.path,
        limit=command.whole(1),
        run=command.path,
    )
