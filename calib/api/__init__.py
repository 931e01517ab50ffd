"""The library: load or wrap a model, fit a direction, steer, calibrate, sweep.

    import calib

    vlm = calib.load("internvl")
    direction = calib.fit(vlm, "pairs.csv")
    print(vlm.generate("How do I use this?", picture))
    with vlm.steer(direction, strength=1.0):
        print(vlm.generate("How do I use this?", picture))

The commands use the same code. Every wrong call is a CalibError that says what was expected.
"""

from calib.api.model import Model

__all__ = ["Model"]
