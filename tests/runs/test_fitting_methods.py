"""Fitting the methods of a run: one error names all those that the data gives nothing to fit."""

from types import SimpleNamespace

import pytest
from composing import composed
from raising import raises

from calib.runs import sweep
from calib.util.errors import CalibError


def fitted(monkeypatch: pytest.MonkeyPatch, tmp_path, config, failures: dict[str, str]) -> list:
    def build(fitting, method):
        if code := failures.get(method.name):
            raise CalibError(code, f"no examples for {method.name}")
        return method.name

    monkeypatch.setattr(sweep.methods, "build", build)
    return sweep.Sweep.fit(SimpleNamespace(config=config, folder=tmp_path, fitting=None))


def test_methods_with_nothing_to_fit_are_named_together(monkeypatch, tmp_path) -> None:
    config = composed("sweep", "experiment=all_methods", "method@reference=none")
    found = fitted(monkeypatch, tmp_path, config, {})
    assert len(found) == 24
    failures = {"surgical": "too-few", "few_shot": "too-few"}
    with raises("too-few", "'~methods.few_shot' '~methods.surgical'"):
        fitted(monkeypatch, tmp_path, config, failures)
    left = composed(
        "sweep", "experiment=all_methods", "method@reference=none", "~methods.few_shot",
        "~methods.surgical",
    )  # fmt: skip
    assert len(fitted(monkeypatch, tmp_path, left, failures)) == 22


def test_other_errors_end_the_run_at_once(monkeypatch, tmp_path) -> None:
    config = composed("sweep", "experiment=all_methods", "method@reference=none")
    with raises("unreadable", "no examples for few_shot"):
        fitted(monkeypatch, tmp_path, config, {"few_shot": "unreadable", "surgical": "too-few"})


def test_the_only_method_of_a_run_is_not_to_be_left_out(monkeypatch, tmp_path) -> None:
    config = composed("sweep", "method=surgical", "method@reference=none")
    with pytest.raises(CalibError) as caught:
        fitted(monkeypatch, tmp_path, config, {"surgical": "too-few"})
    assert str(caught.value) == "no examples for surgical"
