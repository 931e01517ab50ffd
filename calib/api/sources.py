"""What directions and methods are fitted to: pairs, two lists of queries, or activations."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.api.queries import as_examples, listed, require_fields
from calib.config.data import PairsData
from calib.data.benchmarks import data_names, load_benchmark, require_file
from calib.data.example import Example, Pair
from calib.data.example import pairs as pairs_of
from calib.data.split_levels import held_out_clusters, with_query_groups
from calib.directions.samples import Samples
from calib.util.errors import CalibError

Activations = torch.Tensor | NDArray[Any] | Sequence[torch.Tensor] | Sequence[NDArray[Any]]
"""Activations that were read already. # [rows, layers, width]"""
_SIDES = ("positive", "negative")


def as_pairs(source: str | Path | Sequence[Pair]) -> list[Pair]:
    """The pairs of a table, a folder or a list, each with one id and both sides.

    Raises CalibError if a file cannot be read, there are no pairs (too-few), or the list has
    something else in it (invalid-value).
    """
    if isinstance(source, str | Path):
        if source in data_names():
            raise CalibError(
                "invalid-value",
                f"'{source}' is a benchmark, of which some splits must stay unseen. Give "
                f"calib.load_pairs('{source}', 'train').",
            )
        require_file(source)
        loaded = pairs_of(load_benchmark(PairsData(file=str(source))).examples)
    else:
        loaded = listed(source, "pairs", "calib.Pairs, or the path of a table")
    for pair in loaded:
        if not isinstance(pair, Pair):
            raise CalibError(
                "invalid-value",
                f"The pairs have a value of type {type(pair).__name__}. Give calib.Pairs, which "
                "calib.load_pairs reads, or the path of a table; or two lists of queries: "
                "calib.fit(vlm, unsafe, safe).",
            )
        require_fields(pair, "One of the pairs")
    if not loaded:
        raise CalibError(
            "too-few",
            "There are no pairs of a safe and an unsafe example to fit a direction to. Give twins "
            "the same name in column pair.",
        )
    # Examples made by hand may have no pair id, or share one.
    return [
        Pair(
            pair.id,
            replace(pair.safe, pair=pair.id, safety="safe"),
            replace(pair.unsafe, pair=pair.id, safety="unsafe"),
        )
        for pair in loaded
    ]


@dataclass(frozen=True)
class TwoSides:
    """Activations of a positive and a negative side, which need not be safe and unsafe queries."""

    positive: torch.Tensor  # [rows, layers, width] float32
    negative: torch.Tensor  # [rows, layers, width] float32
    clusters: tuple[list[str], list[str]]
    """Cluster of each row, on each side."""
    paired: bool
    """Whether the k-th rows of the two sides belong together."""

    def split(self, share: float) -> tuple[Samples, Samples | None]:
        """The rows to fit, and those to hold out: about ``share`` of each side, in whole clusters.

        Raises CalibError (too-few) if a side is empty.
        """
        for side, rows in zip(_SIDES, (self.positive, self.negative), strict=True):
            if not len(rows):
                raise CalibError("too-few", f"The {side} side has no rows. Give at least one.")
        held = [held_out_clusters(clusters, share) for clusters in self.clusters]
        if self.paired:
            held[1] = held[0]
        rest = self._samples(held, False)
        return rest, self._samples(held, True) if all(held) else None

    def _samples(self, held: Sequence[set[str]], held_out: bool) -> Samples:
        rows = [
            [k for k, name in enumerate(clusters) if (name in of_side) == held_out]
            for clusters, of_side in zip(self.clusters, held, strict=True)
        ]
        names = [
            [clusters[k] for k in kept] for clusters, kept in zip(self.clusters, rows, strict=True)
        ]
        return Samples(
            self.positive[rows[0]],
            self.negative[rows[1]],
            names[0],
            names[1],
            self.paired,
            names[0],
            names[1],
        )


def two_lists(
    positive: Any, negative: Any, template: str, paired: bool
) -> tuple[list[Example], list[Example], tuple[list[str], list[str]]]:
    """The examples of two lists of queries, each text put into ``template``, and their clusters.

    Queries of the same words are one cluster; with ``paired``, so are the k-th of both lists.
    """
    if not isinstance(template, str) or "{}" not in template:
        raise CalibError(
            "invalid-setting",
            f"template: {template!r:.80} has no place for the text. Give one with {{}}, such as "
            "'Act as if you are {}.'",
        )
    sides = []
    for side, queries in zip(_SIDES, (positive, negative), strict=True):
        texts = listed(queries, f"{side} queries", "texts, calib.Examples, or (text, picture)")
        framed = [template.replace("{}", each) if isinstance(each, str) else each for each in texts]
        examples = as_examples(framed, what=f"{side} queries")
        named = f"{side}/" if not paired else ""
        sides.append([
            replace(each, id=f"{side}/{each.id}", pair=f"{named}{k}", concept=None)
            for k, each in enumerate(examples)
        ])  # fmt: skip
    require_equal_counts(len(sides[0]), len(sides[1]), paired)
    grouped = with_query_groups([*sides[0], *sides[1]])
    names = [example.cluster for example in grouped]
    count = len(sides[0])
    return sides[0], sides[1], (names[:count], names[count:])


def as_activations(
    positive: Any, negative: Any, layers: int, width: int, paired: bool
) -> tuple[TwoSides, str]:
    """Activations given as arrays or tensors [rows, layers, width], and a hash of them.

    Raises CalibError (invalid-value) for other shapes than ``layers`` and ``width``, or values that
    are not finite numbers.
    """
    digest = hashlib.sha256()
    sides = []
    for side, values in zip(_SIDES, (positive, negative), strict=True):
        rows = _tensor(side, values)
        if rows.dim() != 3 or tuple(rows.shape[1:]) != (layers, width):
            raise CalibError(
                "invalid-value",
                f"The {side} activations have the shape {list(rows.shape)}. Give [rows, {layers}, "
                f"{width}]: rows x layers x width, as vlm.read returns them; or name their layers "
                "with layers=[...].",
            )
        if not torch.isfinite(rows).all():
            raise CalibError(
                "invalid-value", f"The {side} activations have values that are not finite."
            )
        digest.update(rows.numpy().tobytes())
        sides.append(rows)
    require_equal_counts(len(sides[0]), len(sides[1]), paired)
    names = [
        [f"{'row' if paired else side} {k}" for k in range(len(rows))]
        for side, rows in zip(_SIDES, sides, strict=True)
    ]
    two = TwoSides(sides[0], sides[1], (names[0], names[1]), paired)
    return two, digest.hexdigest()[:16]


def are_activations(values: Any) -> bool:
    """Whether ``values`` is an array or a tensor, or a list of them."""
    arrays = torch.Tensor | np.ndarray
    if isinstance(values, list | tuple) and values:
        return isinstance(values[0], arrays)
    return isinstance(values, arrays)


def require_equal_counts(positive: int, negative: int, paired: bool) -> None:
    """Raise CalibError (mismatch) for paired sides of different length."""
    if paired and positive != negative:
        raise CalibError(
            "mismatch",
            f"paired=True, but there are {positive} positive and {negative} negative rows. Give as "
            "many of each, in the same order, or omit paired.",
        )


def _tensor(side: str, values: Any) -> torch.Tensor:
    try:
        if isinstance(values, list | tuple):
            values = torch.stack([torch.as_tensor(row) for row in values])
        rows = torch.as_tensor(values).detach().cpu()
        if rows.is_complex() or rows.dtype == torch.bool:
            raise TypeError(f"{rows.dtype} is no type of activations")
        return rows.float().contiguous()
    except (TypeError, ValueError, RuntimeError) as error:
        raise CalibError(
            "invalid-value",
            f"The {side} activations are no array of numbers ({str(error).splitlines()[0]}). Give "
            "an array or a tensor [rows, layers, width].",
        ) from error
