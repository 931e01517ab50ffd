import subprocess
import sys
from pathlib import Path

import calib


def test_a_module_of_the_package_is_not_looked_for_by_importing_the_library():
    # "from calib import methods" asks the package for the name before it imports the module. A
    # library that is loaded to answer would be in the middle of its own imports.
    code = (
        "import sys, calib\n"
        "assert not hasattr(calib, 'methods')\n"
        "print([name for name in sys.modules if name.startswith(('calib.api', 'torch'))])"
    )
    checkout = Path(calib.__file__).parents[1]
    shown = subprocess.check_output([sys.executable, "-c", code], cwd=checkout, encoding="utf-8")
    assert shown.strip() == "[]"
