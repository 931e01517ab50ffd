"""Plan a sweep: its rows, tokens, memory and time, from its settings and a short probe.

The probe takes some seconds, and longer on a slow or busy machine. Takes the settings of
calib.sweep and writes nothing.

    python -m calib.plan method=steer model=internvl
"""

from calib.cli import command
from calib.config.sweep import PlanConfig


def main(config: PlanConfig) -> None:
    """Print the plan of the sweep that ``config`` describes."""
    command.import_libraries()

    from calib.engine.engine import Engine
    from calib.engine.request import Decoding
    from calib.models.load import VLM
    from calib.runs.checks.context import within_context
    from calib.runs.estimate.plan import plan_sweep
    from calib.runs.estimate.text import plan_text
    from calib.runs.preflight import check_sweep, load_inputs
    from calib.util.progress import waiting
    from calib.util.terminal import terminal_safe

    inputs = load_inputs(config, config.model.name, config.method.name, config.data.name)
    model = inputs.model
    check_sweep(config, model, inputs.benchmark)
    inputs = within_context(config, inputs)
    is_here = isinstance(model, VLM) and config.engine.name == "transformers"
    engine = None
    if is_here:
        assert isinstance(model, VLM)
        engine = Engine(model, Decoding.of(config.generation, seed=config.seed))
    examples = inputs.benchmark.examples, inputs.utility.examples
    with waiting("measuring"):
        plan = plan_sweep(config, model, *examples, engine, always=True)
    print(terminal_safe(f"Checkpoint {model.checkpoint}, data {config.data.name}"))
    command.print_notes(inputs.notes)
    print(plan_text(plan, _devices(config)))


def _devices(config: PlanConfig) -> int:
    """The number of devices that devices= or shard= name; 1 without them."""
    if config.shard is not None:
        return int(config.shard.partition("/")[2])
    if config.devices == "all":
        import torch

        return max(1, torch.cuda.device_count())
    return int(config.devices or 1)


if __name__ == "__main__":
    command.run(main, "plan", PlanConfig)
