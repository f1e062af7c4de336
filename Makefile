PYTHON ?= python3
RUN := .venv/bin/python
READY := .venv/.ready
PEERS := .venv/.peers
AUDIT := .audit/.ready
PINS := requirements.txt requirements-peers.txt

.PHONY: help demo test test-all test-slow soak lab benchmark gpu-check reproduce readme audit

help:
	@echo "make demo       set up .venv, then prepare, train, evaluate and view on the sample scans (10 minutes)"
	@echo "make test       set up .venv, then the tests of every module and notebook (minutes, on 2 cores)"
	@echo "make test-all   the same with the rest: whole recipes, killed processes, a browser (20 minutes)"
	@echo "make lab        set up .venv, then JupyterLab on copies of the notebooks, in my_notebooks/"
	@echo "make test-slow  the tests that take minutes each"
	@echo "make soak       processes killed, files damaged, disks full, thousands of cases (hours)"
	@echo "make benchmark  speed against the peers"
	@echo "make gpu-check  on a machine with a GPU: its tests, first steps at published size in fp32, bf16, fp16 and with each speedup, the benchmark"
	@echo "make readme     the tables of README and docs, from runs/results"
	@echo "make audit      known vulnerabilities of the pinned packages; fetches pip-audit and asks PyPI about each pin"
	@echo "make reproduce  every recipe whose results are committed, then the tables of README and docs (two hours)"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Echotrain needs Python 3.11 or newer, this is ' + sys.version.split()[0])"
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --disable-pip-version-check --no-compile --requirement requirements.txt
	@touch $@

$(PEERS): $(READY) requirements-peers.txt
	$(RUN) -m pip install --disable-pip-version-check --no-compile --no-deps --requirement requirements-peers.txt
	@touch $@

demo: $(READY)
	$(RUN) -m lib runs/demo.yaml

test: $(PEERS)
	$(RUN) -m pytest -n 2 -m "not whole and not browser and not slow"

test-all: $(PEERS)
	$(RUN) -m pytest -n 2 -m "not browser and not slow"
	$(RUN) -m pytest -n 2 --dist loadfile -m "browser and not slow"

test-slow: $(PEERS)
	$(RUN) -m pytest -m slow

soak: $(PEERS)
	$(RUN) tests/soak

lab: $(READY)
	$(RUN) -m lib.recipes.lab

benchmark: $(PEERS)
	$(RUN) -m lib runs/benchmark.yaml

gpu-check: $(PEERS)
	$(RUN) -m tools.gpu_check

reproduce: $(PEERS)
	$(RUN) -m tools.reproduce

readme: $(READY)
	$(RUN) -m tools.readme

$(AUDIT): Makefile
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --disable-pip-version-check --no-compile pip-audit==2.10.1
	@touch $@

audit: $(AUDIT)
	grep -h '==' $(PINS) > .audit/pins.txt
	.audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .audit/pins.txt
