"""The examples that the playground offers: those of the served run, or of the mini world."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from calib.config.judge import JudgeConfig
from calib.config.method import SettingKey
from calib.data.example import Example
from calib.data.mini.examples import load
from calib.judges.judge import RuleBased
from calib.judges.registry import AUTO, choose_judge
from calib.judges.string import STRING
from calib.report.page.images import reload_images
from calib.runs.run import Run
from calib.scoring.judged import Judged, counted_label, is_correct_response, is_judged
from calib.scoring.results import BASELINE

MOST = 300
"""Largest number of examples in the list."""
MINI_PARTS = {"image_centric": 8, "text_centric": 8, "dual_use": 8, "utility": 4}
"""Parts of the mini world, and the number of their test examples that are offered."""
LOCAL_JUDGES = (AUTO, "rules", "string")
"""Judges that take neither a model nor a network."""


@dataclass(frozen=True)
class Recorded:
    """A response of the run."""

    text: str
    label: str | None
    """Label of a query, or right or wrong of a question; None if it was not judged."""


@dataclass(frozen=True)
class Offered:
    """An example of the list."""

    example: Example
    before: Recorded | None = None
    """The run's response of the uncalibrated model."""
    after: Recorded | None = None
    """The run's response at the method's operating point; None where the uncalibrated model was
    kept."""

    @property
    def changed(self) -> bool:
        """Whether the method changed the label."""
        if self.before is None or self.after is None:
            return False
        return self.before.label != self.after.label


@dataclass(frozen=True)
class Examples:
    """The list of examples, and the judge of new responses to them."""

    source: str
    """Name of the run, or "mini world"."""
    offered: list[Offered]
    total: int
    judge: RuleBased
    notes: list[str] = field(default_factory=list)
    covered: bool = False
    """Whether pictures of unsafe examples are blurred at first: drawn ones are not."""


def mini_examples(checkpoint: str) -> Examples:
    """Examples of the test split of the mini world, which calib draws itself."""
    examples = [
        example
        for part, count in MINI_PARTS.items()
        for example in load([part], count)
        if example.split == "test"
    ]
    judge = choose_judge(JudgeConfig(AUTO), "mini", checkpoint)
    assert isinstance(judge, RuleBased)
    return Examples("mini world", [Offered(example) for example in examples], len(examples), judge)


def with_images(run: Run) -> tuple[Run, list[str]]:
    """``run`` with the pictures that can be loaded again, and notes on the others.

    What its examples need is read at once, unless ``run`` has it already. Raises CalibError if a
    file of it is missing or damaged.
    """
    run.test_rows  # noqa: B018 (read before the run is copied)
    return reload_images(run)


def run_examples(run: Run, method: str, checkpoint: str, notes: Sequence[str] = ()) -> Examples:
    """The test examples of a run, those whose label ``method`` changed in the run first.
    ``notes`` are those on the run."""
    point = run.operating_point(method)
    chosen = SettingKey(method, point["layer"], point["strength"]) if point else None
    notes = list(notes)
    uncalibrated = SettingKey(BASELINE, None, 0.0)
    recorded: dict[str, dict[SettingKey, Recorded]] = {}
    for row, judged in run.test_rows:
        texts = recorded.setdefault(row.example, {})
        if row.key in (uncalibrated, chosen):
            texts[row.key] = Recorded(run.responses[row.row]["response"], _label(run, judged))
    offered = [
        Offered(
            run.examples[name],
            texts.get(uncalibrated),
            texts.get(chosen) if chosen else None,
        )
        for name, texts in recorded.items()
    ]
    offered.sort(key=lambda one: not one.changed)
    shown = [one for one in offered if not one.example.demonstrations]
    if len(shown) < len(offered):
        notes.append(f"{len(offered) - len(shown)} examples with earlier turns are left out.")
    judge, note = _judge(run, checkpoint)
    covered = run.data != "mini"
    return Examples(run.name, shown[:MOST], len(offered), judge, notes + note, covered)


def _label(run: Run, judged: Judged) -> str | None:
    if not is_judged(judged):
        return None
    label = counted_label(judged, run.mapping)
    return label or ("right" if is_correct_response(judged, run.mapping) else "wrong")


def _judge(run: Run, checkpoint: str) -> tuple[RuleBased, list[str]]:
    """The run's judge, or judge=string where that needs a model or a network, and a note."""
    config = run.config("judge")
    if config.name not in LOCAL_JUDGES:
        return STRING, [
            f"Labels of the run are those of judge={config.name}, which a server does not run: new "
            "responses are labelled by judge=string, which reads their wording only."
        ]
    judge = choose_judge(config, run.data, checkpoint)
    assert isinstance(judge, RuleBased)
    return judge, []
