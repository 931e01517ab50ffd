"""The former name of calib.import; kept for one version."""

import runpy
import sys

if __name__ == "__main__":
    print("note: calib.adopt is now called calib.import", file=sys.stderr)
    runpy.run_module("calib.import", run_name="__main__")
