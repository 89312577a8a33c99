# Two commands set everything up: `make run` and `make test`. Both may be interrupted; typed again, `make run` starts a new run.
PYTHON ?= python3
DATA ?= sample
STUDY ?= mnistm_kd
# Without flags the first study shows its first figure within minutes.
FLAGS ?= $(if $(filter mnistm_kd-sample,$(STUDY)-$(DATA)),--preset tour)
TORCH_INDEX ?=
RUN ?= latest
BIN := .venv/bin

.PHONY: run handin known test faults lint clean

run: known .venv/installed
	$(BIN)/python studies/$(STUDY).py $(if $(filter --data --data=% --data-root --data-root=%,$(FLAGS)),,--data $(DATA)) $(FLAGS)

# One file to hand in, of the latest run or of RUN=...; of a run that is not done it says so first.
handin: known .venv/installed
	$(BIN)/python analysis/$(STUDY).py $(RUN) --zip

known:
	@test -f studies/$(STUDY).py || { echo "There is no study $(STUDY). There are:" $(filter-out __init__,$(basename $(notdir $(wildcard studies/*.py)))); exit 2; }

test: .venv/installed lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not faults"

# One after another: what is killed, filled or interrupted must not meet another Ray that starts.
faults: .venv/installed
	$(BIN)/python -m pytest -m faults

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

# The stamp is written last: an interrupted installation is taken up again.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))" \
		|| { echo "Python 3.11 to 3.13 is needed; name one: make run PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv, once: some minutes, and 7 GB with CUDA, 4 less with a CPU build of torch (TORCH_INDEX)"
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision --index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,lite,board]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
