"""What the engine computes against the least that would do, in exact counts: no clock, no noise.

    python -m benchmarks.counts

Hooks on the vision tower and on every decoder block count what really passes; the engine's own
tally must say the same. The engine has been warmed up with other examples before counting starts,
so what it does once per run (looking at how the model can share) is not counted; it is printed.
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
class Passed:
    """What went through a model while it was watched."""

    pictures: int = 0
    token_layers: int = 0
    """Rows x columns, padding included, summed over decoder blocks."""


@contextmanager
def watching(vlm: VLM) -> Iterator[Passed]:
    """Count what passes the vision tower and the decoder blocks while open."""
    passed = Passed()

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
    with watching(case.vlm) as once:
        ours = Ours(case)
    once_told = ours.counts
    with watching(case.vlm) as passed:
        answers = ours.answer(case.rows)
    told = ours.counts - once_told
    decoded = told.decode_row_steps * case.vlm.num_layers
    agrees = passed.pictures == told.pictures
    agrees &= passed.token_layers == told.prefill_token_layers + decoded
    # Should the tally leave something out, it is the hooks that count.
    prefill = passed.token_layers - decoded
    return {
        "case": case.name,
        "rows": len(case.rows),
        "vision": passed.pictures / minimum.pictures(case),
        "prefill": prefill / minimum.prefill_token_layers(case),
        "decode": told.decode_row_steps / minimum.decode_row_steps(answers),
        "identical": answers == naive.answer(case),
        "tally agrees": agrees,
        "pictures": passed.pictures,
        "prefill token-layers": prefill,
        "decode row-steps": told.decode_row_steps,
        "once per run, token-layers": once.token_layers
        - once_told.prefill_token_layers
        - once_told.decode_row_steps * case.vlm.num_layers,
    }


def main() -> None:
    """Print the table and the worst of each column; write results/counts.csv."""
    report.one_thread()
    cases = [default_case(p) for p in ("last_prompt", "all")]
    cases += [long_case(p) for p in ("response", "all")]
    lines = [measure(case) for case in cases]
    report.show(lines)
    known = report.circumstances()
    del known["load"]  # no clock: the machine's load changes nothing here
    print(f"written to {report.save('counts', lines, known).name}\n")
    if not all(line["tally agrees"] for line in lines):
        print("the engine's tally and the hooks differ; the ratios are those of the hooks")
    worst = {key: max(line[key] for line in lines) for key in ("vision", "prefill", "decode")}  # type: ignore[type-var]
    identical = str(all(line["identical"] for line in lines)).lower()
    print(" ".join(f"{key}={value:.2f}" for key, value in worst.items()), f"identical={identical}")


if __name__ == "__main__":
    main()
