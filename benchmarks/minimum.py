"""The least that answering a case can cost, counted by brute force and without the engine.

Two rows of a prompt have the same input at (layer, column) when the edits after lower layers that
touch this column, or one before it, are the same: attention looks back and never ahead. Every
different input must be computed once; nothing need be computed twice.
"""

from benchmarks import naive
from benchmarks.cases import Case, Steering


def pictures(case: Case) -> int:
    """Different pictures."""
    shown = [example.picture() for example in case.examples if example.picture]
    return len({(picture.size, picture.tobytes()) for picture in shown})


def prefill_token_layers(case: Case) -> int:
    """Different inputs of (layer, column) over all prompts, without any padding."""
    return sum(_states(case, length) for length in _lengths(case))


def decode_row_steps(answers: list[naive.Tokens]) -> int:
    """One for each token but the first of a row, which the prompt's last token produces."""
    return sum(len(tokens) - 1 for tokens in answers)


def _states(case: Case, length: int) -> int:
    found = 0
    for layer in range(case.vlm.num_layers):
        for column in range(length):
            felt = set()
            for number, setting in enumerate(case.settings):
                edited = isinstance(setting, Steering) and setting.layer < layer
                felt.add(number if edited and _first_column(setting, length) <= column else None)
            found += len(felt)
    return found


def _first_column(setting: Steering, length: int) -> int:
    if setting.positions == "all":
        return 0
    if setting.positions in ("last_prompt", "response"):
        return length - 1
    raise ValueError(f"the benchmarks have no case with positions={setting.positions}")


def _lengths(case: Case) -> list[int]:
    mask = naive.prepare(case.vlm, case.examples)["attention_mask"]  # [prompts, length]
    return mask.sum(1).tolist()
