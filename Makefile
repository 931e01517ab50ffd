# make sweep       install calib into .venv, then run the main job: steering on mini-internvl
# make test        install calib and its test tools into .venv, then run all tests
# make test-fast   the same without slow tests, documented commands, browsers and servers
# make check       lint, formatting, types, import rules
#
# Another Python:   make sweep PYTHON=/path/to/python3.12
# Another sweep:    make sweep ARGS="method=none model=internvl"
# Start afresh:     rm -r .venv

ARGS ?= method=steer model=internvl
PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

.PHONY: sweep test test-fast check

sweep: .venv/installed
	.venv/bin/python -m calib.sweep $(ARGS)

test: .venv/installed-test
	.venv/bin/python -m pytest -n auto --dist worksteal

test-fast: .venv/installed-test
	.venv/bin/python -m pytest -n auto --dist worksteal \
	    -m "not slow and not docs and not browser and not servers"

check: .venv/installed-test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# Empty files mark finished installations: pip runs again only if the dependencies change.

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

# torch first, from its pin, so that no later package selects another build.
.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing calib (the first time takes some minutes)"
	@$(subst --quiet ,,$(PIP)) torch
	@$(PIP) -e .
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the test tools"
	@$(PIP) -e ".[test]"
	@touch $@
