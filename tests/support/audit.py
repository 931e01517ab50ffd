"""Look up known vulnerabilities of pinned versions with pip-audit; `make audit` runs this file.

    python tests/support/audit.py constraints.txt ...

Exit code 1: a version has known vulnerabilities. 2: nothing was checked, where
pip-audit itself reports success.
"""

import json
import subprocess
import sys


def audit(file: str) -> int:
    """Print the vulnerabilities of the versions in a file; return the exit code."""
    command = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "-r", file]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *command], capture_output=True, encoding="utf-8"
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["pip-audit gives no reason"])[-1]
        print(f"{file}: not checked. {reason[:300]}")
        return 2
    checked = [package for package in packages if "vulns" in package]
    found = [(package, vulnerability) for package in checked for vulnerability in package["vulns"]]
    print(f"{file}: {len(checked)} of {len(packages)} versions looked up, {len(found)} findings")
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "no version"
        print(f"  {package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    if not checked:
        print("  nothing was checked: the vulnerability service does not answer here")
    elif len(checked) < len(packages):
        print(
            "  unknown to it:", ", ".join(each["name"] for each in packages if "vulns" not in each)
        )
    return 1 if found else 0 if checked else 2


if __name__ == "__main__":
    sys.exit(max((audit(file) for file in sys.argv[1:]), key=lambda code: (code == 1, code)))
