# One command for each habit. Every target makes its own virtual environment when there is none.
#   make demo             the main job on three real daemons, one of which is killed
#   make test             all tests          make test-fast    those that end within a minute
#   make check            format, lint and types
#   make simulate SEED=17 one seeded cluster make bench NAME=walking
#   make storms SEEDS=100 so many clusters under seeded disasters, and every schedule ever kept
# STORMS=no keeps them out of make test.
# PYTHON=python3.13 chooses the interpreter, WHEELS=DIR installs without a network.

VENV ?= .venv
PYTHON ?= $(shell .ci/find-python)
BIN = $(VENV)/bin
STAMP = $(VENV)/.complete
PACKAGES = peerdisco gossip dht_storage election webui simulations
SEED ?= 17
# The first so many seeds have been seen clean, on CPython 3.11; a change of the code plays others.
SEEDS ?= 24
STORMS ?= yes
JOBS ?= 2

.PHONY: demo test test-fast check format simulate swarm storms bench wheel lock clean

demo: $(STAMP)
	@$(BIN)/peerdisco demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)
	@test -n "$(ARGS)" || test "$(STORMS)" = no || $(MAKE) --no-print-directory swarm

test-fast: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

simulate: $(STAMP)
	$(BIN)/peerdisco simulate run --seed $(SEED) $(ARGS)

swarm: $(STAMP)
	$(BIN)/peerdisco simulate run --swarm --seeds $(SEEDS) --jobs $(JOBS) --repeat 0.02 --json

storms: $(STAMP)
	$(BIN)/peerdisco simulate corpus --jobs $(JOBS)
	@$(MAKE) --no-print-directory swarm

bench: $(STAMP)
	@test -n "$(NAME)" || { echo "make bench NAME=... where NAME is one of:"; \
	  ls benchmarks | sed -n 's/^\([a-z][a-z_]*\)\.py$$/  \1/p'; exit 2; }
	@$(BIN)/python benchmarks/$(NAME).py $(ARGS)

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build

lock: $(STAMP)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --python-version 3.11 --group dev --upgrade pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): requirements.lock pyproject.toml
	@.ci/make-venv "$(PYTHON)" "$(VENV)" "$(WHEELS)"
	@touch $@
