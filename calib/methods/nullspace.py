"""Null-space steering (AlphaSteer, arXiv 2506.07022, section 4).

    P_l      projector on the directions along which benign activations hardly vary [width, width]
    Delta_l  ridge solution of h P_l Delta_l = r_l over unsafe activations h        [width, width]
    h_l  <-  h_l + strength x h_last P_l Delta_l        at all prompt tokens

h_last [width] is the activation at the last prompt token and r_l [width] the refusal direction
times its gap. Benign activations have almost no component in the null space, so their prompts are
hardly changed. Because every unsafe activation has the same target, P Delta = w r^T has rank one
(calib.directions.subspaces), and each prompt gets the addition of (h_last . w) r. Strength 1 moves
unsafe activations by about the refusal direction's gap.

Authors: 14,000 varied benign prompts (chats, borderline and mathematics), 2,000 harmful ones and
jailbreaks, at the last token; the 30 to 60 % of directions with the smallest benign variance,
chosen by layer; ridge 10; refused minus complied-with queries as the refusal vector. The steering
vector h_last P Delta is computed once, from the state of the last token that earlier edits have
changed, and added to all prompt tokens in 11 to 15 of 28 to 42 layers, not to response tokens.

Here: the same solution, tokens and ridge; one null_share for all layers. h_last is that of the
unedited model at every layer, so that a prompt's additions are known before it is read. Benign
prompts are the safe train examples and the train split's utility questions (benign=varied): few,
where a utility set has no train split. benign=FILE adds prompts of your own.

Supervised: yes (w is a regression on labelled train prompts: 1 on unsafe ones, 0 on benign ones).

Searched: strength (and, with first_layers, the first edited layer) on validation.
"""

from collections.abc import Sequence
from functools import partial

import torch

from calib.config.steering import Nullspace
from calib.data.example import Example
from calib.data.tables import cell_prompt, check_columns, read_table
from calib.directions.subspaces import nullspace_ridge
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.files import home_expanded

AXIS = Axis("factor of the refusal direction's gap")


def check(config: Nullspace, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError for a table of benign prompts that cannot be read."""
    if config.benign not in ("varied", "twins"):
        read_benign(config.benign)


def method(fitting: Fitting, config: Nullspace) -> Method:
    """An addition to the prompt for each example, in proportion to its last token's reading."""
    positions = config.read_positions
    refusal = fitting.direction(config.contrast, config.estimator, positions)
    grid = fitting.layer_grid(config, fitting.layers_of(refusal, config.layers))
    samples = fitting.samples("safety", "train", positions, layers=grid.band)
    benign = benign_examples(fitting, config.benign)
    solve = partial(nullspace_ridge, null_share=config.null_share, ridge=config.ridge)
    readers = solve(samples, benign=fitting.activations(benign, grid.band, positions)).readers
    assert readers is not None  # [layers, width]

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            hidden = fitting.activations(examples, grid.band, positions)
            readings = (hidden * readers).sum(-1)  # [examples, layers]

            def edits(reading: torch.Tensor) -> Edits:
                by_layer = dict(zip(grid.band, reading.tolist(), strict=True))

                def addition(number: int) -> Add:
                    return Add(refusal.at(number, strength * by_layer[number]))

                return edits_at(grid.edited(layer), addition, config.positions)

            return [edits(reading) for reading in readings]

        return Intervention(rule=rule)

    kinds = sum(example.safety is None for example in benign)
    note = (
        f"{config.name}: the null space is that of {len(benign)} benign prompts, of which {kinds} "
        "are not of the benchmark"
    )
    return Method(config.name, AXIS, grid.layers, intervention, refusal, [note], "gate")


def benign_examples(fitting: Fitting, benign: str) -> list[Example]:
    """The benign prompts of a configuration; see Nullspace.benign.

    Raises CalibError for a table that cannot be read.
    """
    twins = fitting.sides("safety", "train").negative
    if benign == "twins":
        return twins
    others = [e for e in fitting.examples if (e.safety, e.split) == ("safe", "train")]
    if benign == "varied":
        others += [e for e in fitting.utility if e.split == "train"]
    else:
        others += read_benign(benign)
    return [*twins, *(e for e in others if all(e is not twin for twin in twins))]


def read_benign(path: str) -> list[Example]:
    """Benign prompts without pictures, from a table with a column query.

    Raises CalibError for a table that cannot be read or has no such column, and for an empty query.
    """
    rows = read_table(home_expanded(path))
    check_columns(rows, ["query"], path)
    for number, row in enumerate(rows, start=1):
        if not cell_prompt(row, "query"):
            raise CalibError(
                "missing-value",
                f"method.benign={path}, row {number}: the query is empty. Delete the row.",
            )
    return [
        Example(f"benign/{number}", "benign", "own", "", "train", cell_prompt(row, "query"))
        for number, row in enumerate(rows)
    ]
