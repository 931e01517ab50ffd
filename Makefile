# make sweep    install calib into .venv, then run the main job: steering on mini-internvl
# make test     install calib and its test tools into .venv, then run the tests
# make check    lint, formatting, types, import rules
#
# Another Python:     make sweep PYTHON=/path/to/python3.12
# Another sweep:      make sweep ARGS="method=none model=internvl"
# Start from nothing: rm -r .venv

ARGS ?= method=steer model=internvl
PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

.PHONY: sweep test check

sweep: .venv/installed
	.venv/bin/python -m calib.sweep $(ARGS)

test: .venv/installed-test
	.venv/bin/python -m pytest -n auto --dist worksteal

check: .venv/installed-test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# The files below are stamps: pip runs again only when what it would install has changed.

.venv/created:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	    python=python3; if python3.11 -c "" 2>/dev/null; then python=python3.11; fi; \
	fi; \
	"$$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || { \
	    echo "calib needs Python 3.11, 3.12 or 3.13, and $$python is" \
	         "$$("$$python" --version 2>&1). Name another: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	}; \
	echo "Creating .venv with $$python"; \
	"$$python" -m venv --clear .venv
	@touch $@

# torch first and from its pin: the build that is chosen here is then kept.
.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing calib (the first time takes some minutes)"
	@$(subst --quiet ,,$(PIP)) torch
	@$(PIP) -e .
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the test tools"
	@$(PIP) -e ".[test]"
	@touch $@
