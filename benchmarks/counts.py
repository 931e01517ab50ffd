"""The engine's work compared with the minimum, in exact counts without a clock.

    python -m benchmarks.counts

Hooks on the vision tower and on every decoder block count inputs; the engine's own statistics must
agree. The engine is warmed up with other examples first, so its one-time work per run (detecting
how the model can share, the self-check) is not included; it is printed separately.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import minimum, naive, report
from benchmarks.cases import Case, default_case, long_case
from benchmarks.ours import Ours
from calib.models.layers import decoder_layers
from calib.models.load import VLM


@dataclass
class ModelInputs:
    """Counted inputs of a model."""

    pictures: int = 0
    token_layers: int = 0
    """Rows x columns including padding, summed over decoder blocks."""


@contextmanager
def counting(vlm: VLM) -> Iterator[ModelInputs]:
    """Count inputs of the vision tower and the decoder blocks while the context is open."""
    passed = ModelInputs()

    def tower(module: Any, args: Any, kwargs: Any) -> None:
        passed.pictures += len(args[0] if args else kwargs["pixel_values"])

    def block(module: Any, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]  # [rows, columns, width]
        passed.token_layers += hidden.shape[0] * hidden.shape[1]

    with ExitStack() as stack:
        for module, hook in [
            (vlm.model.base_model.vision_tower, tower),
            *((layer, block) for layer in decoder_layers(vlm.model)),
        ]:
            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield passed


def measure(case: Case) -> dict[str, object]:
    """One line of the table."""
    with counting(case.vlm) as once:
        ours = Ours(case)
    stats_once = ours.counts
    with counting(case.vlm) as passed:
        answers = ours.answer(case.rows)
    stats = ours.counts - stats_once
    decoded = stats.decode_row_steps * case.vlm.num_layers
    agrees = passed.pictures == stats.pictures
    agrees &= passed.token_layers == stats.prefill_token_layers + decoded
    # If the engine's statistics missed something, the hooks are right.
    prefill = passed.token_layers - decoded
    return {
        "case": case.name,
        "rows": len(case.rows),
        "vision": passed.pictures / minimum.pictures(case),
        "prefill": prefill / minimum.prefill_token_layers(case),
        "decode": stats.decode_row_steps / minimum.decode_row_steps(answers),
        "identical": answers == naive.answer(case),
        "stats agree": agrees,
        "pictures": passed.pictures,
        "prefill token-layers": prefill,
        "decode row-steps": stats.decode_row_steps,
        "once per run, token-layers": once.token_layers
        - stats_once.prefill_token_layers
        - stats_once.decode_row_steps * case.vlm.num_layers,
    }


def main() -> None:
    """Print the table and the worst of each column; write results/counts.csv."""
    report.one_thread()
    cases = [default_case(p) for p in ("last_prompt", "all")]
    cases += [long_case(p) for p in ("response", "all")]
    lines = [measure(case) for case in cases]
    report.show(lines)
    known = report.circumstances()
    del known["load"]  # irrelevant without a clock
    print(f"written to {report.save('counts', lines, known).name}\n")
    if not all(line["stats agree"] for line in lines):
        print("the engine's statistics and the hooks differ; the ratios are those of the hooks")
    worst = {key: max(line[key] for line in lines) for key in ("vision", "prefill", "decode")}  # type: ignore[type-var]
    identical = str(all(line["identical"] for line in lines)).lower()
    print(" ".join(f"{key}={value:.2f}" for key, value in worst.items()), f"identical={identical}")


if __name__ == "__main__":
    main()
