"""The minimum work for a case, counted by brute force and without the engine.

Two rows of a prompt have the same input at (layer, column) if their edits after lower layers at
this and earlier columns are equal, because attention only looks back. Every distinct input must be
computed once, and no input twice.
"""

from benchmarks import naive
from benchmarks.cases import Case, Steering


def pictures(case: Case) -> int:
    """Number of distinct images."""
    images = [example.picture() for example in case.examples if example.picture]
    return len({(image.size, image.tobytes()) for image in images})


def prefill_token_layers(case: Case) -> int:
    """Distinct inputs at (layer, column) over all prompts, without padding."""
    return sum(_states(case, length) for length in _lengths(case))


def decode_row_steps(answers: list[naive.Tokens]) -> int:
    """One step per token, except for each row's first token, which prefill produces."""
    return sum(len(tokens) - 1 for tokens in answers)


def _states(case: Case, length: int) -> int:
    states = 0
    for layer in range(case.vlm.num_layers):
        for column in range(length):
            distinct = set()
            for number, setting in enumerate(case.settings):
                below = isinstance(setting, Steering) and setting.layer < layer
                edited = below and _first_column(setting, length) <= column
                distinct.add(number if edited else None)
            states += len(distinct)
    return states


def _first_column(setting: Steering, length: int) -> int:
    if setting.positions == "all":
        return 0
    if setting.positions in ("last_prompt", "response"):
        return length - 1
    raise ValueError(f"the benchmarks have no case with positions={setting.positions}")


def _lengths(case: Case) -> list[int]:
    mask = naive.prepare(case.vlm, case.examples)["attention_mask"]  # [prompts, length]
    return mask.sum(1).tolist()
