"""Values that properties are tried with: texts, JSON, cells of tables, judged responses."""

from hypothesis import strategies as st

from calib.config.choices import LABELS
from calib.scoring.judged import Judged

SIGNS = "=+-@＝﹦'\"`,;\t\r\n\\${}[]()<>|&#%*_/:. aé漢\u0301\u202e\u2028\x00\x1b\x85\ufeff1"  # noqa: RUF001
"""Characters with a meaning in tables, shells, terminals, Markdown or Hydra."""

texts = st.one_of(st.text(st.sampled_from(SIGNS), max_size=20), st.text(max_size=20))
"""Any text without halves of surrogate pairs."""
broken_texts = st.one_of(texts, st.text(st.characters(), max_size=10), st.just("half \ud800"))
"""Any text that Python can hold."""
printable_texts = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")), max_size=25
)
names = st.text(st.sampled_from("abcxyz012_"), min_size=1, max_size=8)

numbers = st.one_of(
    st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([10**400, -(10**400)])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""Any JSON value, NaN and infinity included, which Python reads and writes too."""


def deep(levels: int, key: str | None = None) -> object:
    """Lists, or objects of one ``key``, nested this deep."""
    value: object = 1
    for _ in range(levels):
        value = [value] if key is None else {key: value}
    return value


def _judged(example: tuple[int, str, str | None, bool | None, int | None, int | None]) -> Judged:
    number, safety, label, correct, pair, concept = example
    dataset = ("image_centric", "text_centric", "dual_use", "utility")[number % 4]
    is_question = dataset == "utility"
    return Judged(
        method="none",
        layer=None,
        strength=0.0,
        example_id=f"{number}",
        pair=None if pair is None else f"p{pair}",
        dataset=dataset,
        variant=("original", "noise", "photo")[number % 3],
        category="cd"[number % 2],
        split="test",
        safety=None if is_question else safety,
        label=None if is_question else label,
        correct=bool(correct) if is_question else None,
        kl=number / 10 if is_question else None,
        empty=number % 5 == 0,
        truncated=number % 7 == 0,
        concept=None if concept is None else f"c{concept}",
    )


judged_rows = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["safe", "unsafe"]),
        st.sampled_from(LABELS),
        st.booleans(),
        st.none() | st.integers(0, 5),
        st.none() | st.integers(0, 3),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[0],
).map(lambda rows: [_judged(row) for row in rows])
"""Judged responses of the uncalibrated model on test: some in pairs, concepts and questions."""
