"""One choice of steering at a time: the variants of method=steer that the study compares.

Number of pairs and label noise are properties of the data, so their directions are fitted here and
given to the sweep as files.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import calib
from calib.config.data import MiniData
from calib.data.benchmarks import load_benchmark
from calib.data.example import Pair, pairs
from calib.interventions.contrasts import twins

DEFAULT = "steer"
"""The variant that all others differ from in one choice."""
STRENGTHS = "[-2,-1,1,2]"
PAIRS = (4, 16, 64, 256, 512)
"""Numbers of train pairs; those that the data does not have are left out."""
DRAWS = {4: 3, 16: 3}
"""Draws of the pairs, where a few make a direction; otherwise one."""
NOISE = (0.1, 0.25, 0.5)
"""Shares of the pairs whose labels are exchanged, of as many pairs as there are up to 512."""


@dataclass(frozen=True)
class Variant:
    """One choice: the axis that it is on, its value, and settings of the method."""

    axis: str
    value: str
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        """The method's name in the run."""
        return DEFAULT if not self.axis else f"{self.axis}_{self.value}"

    def overrides(self) -> tuple[str, ...]:
        """Settings of calib.sweep that add this variant to a run."""
        own = (f"name={self.name}", "file=steer", f"strengths={STRENGTHS}", *self.settings)
        return f"+method@methods.{self.name}=steer", *(
            f"methods.{self.name}.{setting}" for setting in own
        )


CONFIGURED = (
    Variant("", "", ()),
    Variant("gate", "cosine", ("gate=cosine",)),
    Variant("gate", "probe", ("gate=probe",)),
    Variant("gate", "probe_both_ways", ("gate=probe", "otherwise=opposite")),
    Variant("positions", "last_prompt", ("positions=last_prompt",)),
    Variant("positions", "prompt", ("positions=prompt",)),
    Variant("positions", "all", ("positions=all",)),
    Variant("site", "heads", ("site=heads",)),
    Variant("site", "mlp", ("site=mlp",)),
    Variant("layers", "lower_half", ("layers=lower",)),
    Variant("layers", "upper_half", ("layers=upper",)),
    Variant("layers", "together", ("all_layers_at_once=true", "first_layers=all")),
    Variant("contrast", "refusal", ("contrast=refusal",)),
    Variant("contrast", "responses", ("contrast=responses", "read_positions=response")),
    Variant("estimator", "pca", ("estimator=pca",)),
    Variant("estimator", "logistic_probe", ("estimator=logistic_probe",)),
    Variant("estimator", "lda", ("estimator=lda",)),
)
"""The variants that are settings of the method."""


def fitted(world: str, model: str, parts: Sequence[str], folder: Path) -> list[Variant]:
    """The variants by number of pairs and by label noise, with their directions in ``folder``.

    A direction whose file is there is not fitted again.
    """
    every = train_pairs(world, parts)
    chosen: dict[tuple[str, str], list[Pair]] = {}
    for count in PAIRS:
        for draw in range(DRAWS.get(count, 1)) if count <= len(every) else ():
            value = f"{count}_draw_{draw + 1}" if count in DRAWS else str(count)
            chosen["pairs", value] = drawn(every, draw)[:count]
    for share in NOISE:
        chosen["noise", f"{share:.0%}".rstrip("%")] = exchanged(drawn(every, 0)[: PAIRS[-1]], share)
    variants, loaded = [], None
    for (axis, value), selected in chosen.items():
        file = folder / f"{axis}_{value}.safetensors"
        if not file.is_file():
            loaded = loaded or calib.load(model)
            sides = [[pair.unsafe for pair in selected], [pair.safe for pair in selected]]
            folder.mkdir(parents=True, exist_ok=True)
            calib.fit(loaded, *sides, paired=True, held_out=0.0).save(file)
        variants.append(Variant(axis, value, (f"direction={file}",)))
    return variants


def train_pairs(world: str, parts: Sequence[str]) -> list[Pair]:
    """All pairs of the train split of a mini world."""
    examples = load_benchmark(MiniData(name=world, parts=list(parts), limit=None)).examples
    return pairs(twins(examples, "train"))


def drawn(every: Sequence[Pair], draw: int) -> list[Pair]:
    """The pairs in an order drawn by hashing, the same on every machine."""
    return sorted(
        every, key=lambda pair: hashlib.sha256(f"{draw}/{pair.unsafe.id}".encode()).digest()
    )


def exchanged(every: Sequence[Pair], share: float) -> list[Pair]:
    """All pairs, a share of them with safe and unsafe exchanged."""
    wrong = {pair.unsafe.id for pair in drawn(every, 0)[: round(share * len(every))]}
    return [
        Pair(pair.id, pair.unsafe, pair.safe) if pair.unsafe.id in wrong else pair for pair in every
    ]
