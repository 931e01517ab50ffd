"""Plan rows: who is asked what, in the order in which it is cheapest."""

from collections.abc import Iterator, Sequence

from calib.engine.decoding import Asked, Decoding
from calib.engine.packing import Room, next_group
from calib.engine.row import Row
from calib.vlm.load import VLM
from calib.vlm.prompts import Prompt, read_prompt


def plan(vlm: VLM, asked: Sequence[Asked], decoding: Decoding) -> list[Row]:
    """Rows by length of their prompts; of one prompt, the unedited rows come first."""
    prompts: dict[int, tuple[int, Prompt]] = {}
    rows = []
    for index, one in enumerate(asked):
        if id(one.example) not in prompts:
            prompts[id(one.example)] = (index, read_prompt(vlm, one.example))
        prompt = prompts[id(one.example)][1]
        edits = one.edits
        if any(edit.positions == "image" for edit in edits) and not prompt.image.any():
            # At image tokens, where there are none: no edit, and a state with all unedited rows.
            edits = tuple(edit for edit in edits if edit.positions != "image")
        seed = one.seed + decoding.seed if decoding.temperature > 0 else None
        rows.append(Row(index, prompt, edits, seed, one.certain))
    order = {id(prompt): first for first, prompt in prompts.values()}
    return sorted(
        rows,
        key=lambda r: (len(r.prompt.tokens), order[id(r.prompt)], bool(r.edits), r.index),
    )


def groups(rows: Sequence[Row], room: Room, whole: bool) -> Iterator[list[Row]]:
    """Rows in the groups whose prompts are read together."""
    while rows:
        count = next_group(rows, room, whole)
        yield list(rows[:count])
        rows = rows[count:]
