"""calib: test-time safety calibration of vision-language models."""

__version__ = "0.1.0"
