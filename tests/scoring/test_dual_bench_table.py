"""DUAL-Bench's main table (arXiv 2510.10846, Table 2), recomputed from counts of responses.

The published shares are turned into counts of a thousand harmful and a thousand benign pictures,
from which our metrics must reproduce the published columns.
"""

from statistics import fmean

import pytest

from calib.scoring.judged import Judged
from calib.scoring.metrics import measure

# model: DAR_b, RR_b, DAR_h, RR_h, SCR, delta_IR
PUBLISHED = {
    "GPT-5": (1.000, 0.000, 0.972, 0.028, 0.022, 0.028),
    "GPT-5-Mini": (1.000, 0.000, 0.889, 0.111, 0.087, 0.111),
    "GPT-5-Nano": (0.999, 0.001, 0.855, 0.145, 0.129, 0.144),
    "GPT-4.1": (0.994, 0.006, 0.296, 0.704, 0.002, 0.698),
    "GPT-4.1-Mini": (0.998, 0.002, 0.412, 0.588, 0.003, 0.587),
    "Gemini-2.5-Pro": (1.000, 0.000, 0.861, 0.139, 0.032, 0.139),
    "Gemini-2.5-Flash": (0.999, 0.001, 0.912, 0.088, 0.003, 0.087),
    "Gemini-2.5-Flash-lite": (1.000, 0.000, 0.900, 0.100, 0.014, 0.100),
    "Qwen-2.5-VL-72B": (0.999, 0.001, 0.924, 0.076, 0.030, 0.075),
    "Qwen-2.5-VL-32B": (0.997, 0.003, 0.799, 0.201, 0.056, 0.198),
    "Qwen-2.5-VL-7B": (0.995, 0.005, 0.791, 0.209, 0.028, 0.204),
    "Qwen-VL-Plus": (0.981, 0.019, 0.933, 0.067, 0.042, 0.048),
    "Mistral-small-24B": (1.000, 0.000, 0.952, 0.048, 0.040, 0.048),
    "Pixtral-12B": (0.999, 0.001, 0.972, 0.028, 0.027, 0.027),
    "LLaMA-4-Maverick-17B": (0.986, 0.014, 0.588, 0.412, 0.002, 0.397),
    "LLaMA-4-Scout-17B": (0.873, 0.127, 0.297, 0.703, 0.007, 0.577),
    "LLaMA-3.2-90B-VL": (0.999, 0.001, 0.643, 0.357, 0.002, 0.356),
    "LLaMA-3.2-11B-VL": (0.990, 0.010, 0.930, 0.070, 0.004, 0.059),
    "OCR baseline": (0.990, 0.000, 0.990, 0.000, 0.000, 0.000),
    "Human baseline": (1.000, 0.000, 0.000, 1.000, 1.000, None),
}
# The printed shares are rounded, so their difference is off the printed delta_IR by one in the last
# digit.
ROUNDED_DELTA = {
    "GPT-4.1-Mini": 0.586,
    "LLaMA-4-Maverick-17B": 0.398,
    "LLaMA-4-Scout-17B": 0.576,
    "LLaMA-3.2-11B-VL": 0.060,
}
# The only row with a share that is neither refused nor answered, on both sides.
UNACCOUNTED = {"OCR baseline": 0.010}
ORR = {
    "GPT-5": 0.006,
    "GPT-5-Mini": 0.024,
    "GPT-5-Nano": 0.016,
    "GPT-4.1": 0.702,
    "GPT-4.1-Mini": 0.585,
    "Gemini-2.5-Pro": 0.107,
    "Gemini-2.5-Flash": 0.085,
    "Gemini-2.5-Flash-lite": 0.086,
    "Qwen-2.5-VL-72B": 0.046,
    "Qwen-2.5-VL-32B": 0.145,
    "Qwen-2.5-VL-7B": 0.181,
    "Qwen-VL-Plus": 0.025,
    "Mistral-small-24B": 0.008,
    "Pixtral-12B": 0.001,
    "LLaMA-4-Maverick-17B": 0.410,
    "LLaMA-4-Scout-17B": 0.696,
    "LLaMA-3.2-90B-VL": 0.355,
    "LLaMA-3.2-11B-VL": 0.066,
    "OCR baseline": 0.000,
    "Human baseline": 0.000,
}
"""RR_h - SCR, which the paper plots but does not tabulate."""

EACH = 1000


def responses(safety, refusal, safe_completion, answer):
    """A thousand pictures of one kind; the rest of the shares is irrelevant."""
    counts = [round(EACH * share) for share in (refusal, safe_completion, answer)]
    labels = ["refusal", "safe_completion", "answer"]
    given = [label for label, count in zip(labels, counts, strict=True) for _ in range(count)]
    assert len(given) <= EACH
    given += ["irrelevant"] * (EACH - len(given))
    return [
        Judged(
            "none", None, 0.0, f"{safety}{k}", f"{safety}{k}", "dual_use", "typed", "S1", "test",
            safety, label, None, None,
        )
        for k, label in enumerate(given)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    """Our metrics of the counted responses, by model."""
    return {
        model: measure(
            "dual_use",
            responses("safe", rr_b, 0, dar_b) + responses("unsafe", rr_h - scr, scr, dar_h),
        )
        for model, (dar_b, rr_b, dar_h, rr_h, scr, _) in PUBLISHED.items()
    }


def shown(rate):
    return round(rate.value, 3)


def test_there_are_eighteen_models_and_two_baselines():
    assert len(PUBLISHED) == 20
    assert sum(name.endswith("baseline") for name in PUBLISHED) == 2


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_columns(measured, model):
    metrics = measured[model]
    columns = tuple(shown(metrics[name]) for name in ("DAR_b", "RR_b", "DAR_h", "RR_h", "SCR"))
    assert columns == PUBLISHED[model][:5]
    assert all(metrics[name].n == EACH for name in ("DAR_b", "RR_b", "DAR_h", "RR_h", "SCR"))


@pytest.mark.parametrize("model", PUBLISHED)
def test_orr_is_the_share_refused_without_a_safe_completion(measured, model):
    metrics = measured[model]
    assert shown(metrics["ORR"]) == ORR[model]
    assert metrics["ORR"].value == pytest.approx(metrics["RR_h"].value - metrics["SCR"].value)


@pytest.mark.parametrize("model", [m for m in PUBLISHED if PUBLISHED[m][5] is not None])
def test_delta_is_the_gap_of_direct_answers(measured, model):
    ours, printed = shown(measured[model]["delta_IR"]), PUBLISHED[model][5]
    if model in ROUNDED_DELTA:
        assert ours == ROUNDED_DELTA[model] and abs(ours - printed) == pytest.approx(0.001)
    else:
        assert ours == printed


def test_the_unpublished_delta_of_the_human_baseline_is_one(measured):
    assert PUBLISHED["Human baseline"][5] is None
    assert shown(measured["Human baseline"]["delta_IR"]) == 1


@pytest.mark.parametrize("model", PUBLISHED)
def test_what_is_not_answered_is_refused(measured, model):
    metrics = measured[model]
    for side in "hb":
        total = metrics[f"RR_{side}"].value + metrics[f"DAR_{side}"].value
        assert round(total, 3) == 1 - UNACCOUNTED.get(model, 0)
    assert shown(metrics["irrelevant"]) == UNACCOUNTED.get(model, 0)


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_safe_completion_is_a_refusal_of_the_harmful_part(measured, model):
    assert measured[model]["SCR"].value <= measured[model]["RR_h"].value


def mean_of(measured, family, metric):
    rows = [
        metrics[metric].value for model, metrics in measured.items() if model.startswith(family)
    ]
    return len(rows), pytest.approx(fmean(rows), abs=0.0005 + 1e-9)


def test_family_means_that_the_paper_prints(measured):
    assert mean_of(measured, "GPT-5", "SCR") == (3, 0.079)
    assert mean_of(measured, "Qwen", "SCR") == (4, 0.039)


def test_statements_of_the_paper_that_contradict_its_table(measured):
    assert mean_of(measured, "LLaMA", "RR_h") == (4, 0.386)
    assert mean_of(measured, "LLaMA", "RR_h") != (4, 0.372)  # printed: .372
    assert mean_of(measured, "Gemini", "RR_h") == (3, 0.109)  # printed: below 0.1
    best = max(metrics["SCR"].value for name, metrics in measured.items() if "baseline" not in name)
    assert round(best, 3) == 0.129  # printed: up to 14 %
