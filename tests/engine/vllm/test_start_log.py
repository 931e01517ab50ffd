"""The reason in the log of an engine of vLLM that fails to start."""

import pytest

from calib.engine.vllm.start_log import last_reason

WORKER = "Traceback (most recent call last):\n  File 'x'\nValueError: too large: 3\n"
ENGINE = (
    "EngineCore failed to start.\nException: WorkerProc initialization failed due to an error.\n"
)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (WORKER, "too large: 3"),
        (WORKER + ENGINE, "too large: 3"),
        (WORKER + "torch.OutOfMemoryError: CUDA\n", "CUDA"),
        (ENGINE, ""),
        ("", ""),
    ],
)
def test_the_last_error_that_says_more_than_that_a_process_failed(log, reason):
    assert last_reason(log) == reason
