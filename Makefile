# make demo and make check are the two commands; each sets up what is missing first.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The voices that ask (and, in training, are heard), the recorded words that measure hearing, the font that the
# world's pictures are drawn with, and the database that the tests of durable runs start for themselves.
APT := asterisk-core-sounds-en-g722 espeak-ng festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts flite \
    fonts-noto-color-emoji postgresql tuxpaint-stamps-default

.PHONY: demo check setup system links format lint types contracts test scores clean

demo: setup
	$(BIN)/omni-agent demo demo

check: setup lint types contracts test

setup: links system $(VENV)/.complete

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

contracts:
	$(BIN)/lint-imports

# Two processes, each with a thread of its own: files of tests, which share what they load, stay together.
test:
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Measures omni-tiny (about an hour on one core), writes the table into README.md and the model card, and draws its pages.
scores: setup
	$(BIN)/omni-agent evaluate omni-tiny --questions 500 --json docs/omni-tiny-scores.json
	$(BIN)/python docs/write_scores.py
	$(BIN)/python docs/write_card.py
	$(BIN)/python docs/draw_pages.py 3

$(VENV)/.complete: pyproject.toml constraints.txt setup.py
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=...')"
	@echo "Installing into $(VENV): a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

links:
	@for name in core_model tools recipes; do \
	    test -d omni_agent/$$name || { \
	        echo "omni_agent/$$name is not a link to ../$$name: git wrote it as a text file." \
	             "Clone again with links: git clone -c core.symlinks=true (on Windows, in developer mode)."; \
	        exit 2; }; \
	done

system:
	@missing=""; \
	$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || missing="$$missing python3-venv"; \
	for package in $(APT); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
	done; \
	test -z "$$missing" && exit 0; \
	command -v apt-get >/dev/null || { \
	    echo "Not a Debian system: install by hand what matches$$missing, then make again with APT= "; exit 2; }; \
	echo "Installing$$missing"; \
	sudo=""; test "$$(id -u)" = 0 || sudo=sudo; \
	$$sudo apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qq --yes --no-install-recommends $$missing

clean:
	rm -rf $(VENV) build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
