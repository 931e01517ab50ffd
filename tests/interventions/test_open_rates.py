"""Open rates of a gate by part."""

from calib.data.example import Example
from calib.interventions.open_rates import open_rates_by_part


def examples(part, safety, count):
    return [Example(f"{part}{k}", part, "v", "c", "validation", "q", safety=safety)
            for k in range(count)]  # fmt: skip


def test_every_part_has_its_counts():
    shown = [
        *examples("text_centric", "unsafe", 3), *examples("text_centric", "safe", 4),
        *examples("image_centric", "unsafe", 2), *examples("image_centric", "safe", 2),
    ]  # fmt: skip
    opened = [True, True, False, True, False, False, False, False, False, True, True]
    text = open_rates_by_part(opened, shown)
    assert "text_centric 2/3 of unsafe and 1/4 of safe" in text
    assert "image_centric 0/2 of unsafe and 2/2 of safe" in text


def test_a_single_part_adds_nothing():
    assert open_rates_by_part([True, False], examples("dual_use", "unsafe", 2)) == ""
