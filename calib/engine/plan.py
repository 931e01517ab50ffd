"""Plan rows: who is asked what, in the order in which it is cheapest."""

from collections.abc import Iterator, Sequence

from calib.engine.decoding import Asked, Decoding
from calib.engine.packing import Room, next_group, next_pass
from calib.engine.row import Row
from calib.vlm.load import VLM
from calib.vlm.prompts import read_prompts


def plan(vlm: VLM, asked: Sequence[Asked], decoding: Decoding) -> list[Row]:
    """Rows by length of their prompts; of one prompt, the unedited rows come first."""
    bases = [one.base for one in asked if one.base is not None and decoding.kl]
    examples = {id(example): example for example in [*(one.example for one in asked), *bases]}
    read = read_prompts(vlm, list(examples.values()))
    prompts = dict(zip(examples, read, strict=True))
    rows = []
    for index, one in enumerate(asked):
        prompt = prompts[id(one.example)]
        edits = one.edits
        if any(edit.positions == "image" for edit in edits) and not prompt.image.any():
            # At image tokens, where there are none: no edit, and a state with all unedited rows.
            edits = tuple(edit for edit in edits if edit.positions != "image")
        seed = one.seed + decoding.seed if decoding.temperature > 0 else None
        foreign = decoding.kl and one.base is not None and one.base is not one.example
        base = prompts[id(one.base)] if foreign else None
        rows.append(Row(index, prompt, edits, seed, one.certain, base))
    order = {id(prompt): k for k, prompt in enumerate(read)}
    return sorted(
        rows,
        key=lambda r: (len(r.prompt.tokens), order[id(r.prompt)], bool(r.edits), r.index),
    )


def groups(rows: Sequence[Row], room: Room, whole: bool) -> Iterator[list[list[Row]]]:
    """Rows in groups that are read at once, each in the parts that pass the model together."""
    while rows:
        count = next_group(rows, room, whole)
        group, rows = rows[:count], rows[count:]
        parts = []
        while group:
            count = next_pass(group)
            parts.append(list(group[:count]))
            group = group[count:]
        yield from ([part] for part in parts) if whole else [parts]
