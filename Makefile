# Thin names for the commands that the README shows.
PYTHON ?= python3
PY := .venv/bin/python
RUN := runs/demo

.PHONY: setup demo test slow parity napari fuzz nightly lint

setup: .venv/setup

.venv/setup: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14) and f"Python 3.11 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e ".[data]" -c constraints.txt
	@touch $@

.venv/dev: .venv/setup
	$(PY) -m pip install --quiet -e ".[data,shards,stain,zarr,remote,dicom,view,cluster,dev]" -c constraints.txt
	@touch $@

demo: setup
	rm -rf $(RUN)
	.venv/bin/nucseg predict nucseg_jax/pretrained/sample.png --out $(RUN)
	$(PY) -m data_prep.synthetic --out $(RUN)/source --images 14 --test 4 --size 512
	$(PY) -m data_prep.folder --source $(RUN)/source --out $(RUN)/data --name synthetic
	$(PY) -m nucseg_jax.main --config configs/demo.py --workdir $(RUN)
	$(PY) -m nucseg_jax.main --config configs/demo.py --workdir $(RUN) --mode eval

# XLA compiles without LLVM's optimisations, which takes less time; `slow` and `parity` have them.
test: .venv/dev
	XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=0" $(PY) -m pytest

.venv/torch: .venv/dev
	$(PY) -m pip install --quiet -e ".[data,shards,stain,zarr,remote,dicom,view,cluster,dev,torch,onnx,benchmarks,spatialdata]" -c constraints.txt
	@touch $@

parity: .venv/torch
	$(PY) -m pytest tests/parity

# The plugin for napari. Its environment is another one: napari and Qt have plugins for pytest, which all tests
# would load. With xvfb-run napari's window is tested, too.
.venv-napari/setup: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-napari
	.venv-napari/bin/python -m pip install --quiet --upgrade pip
	.venv-napari/bin/python -m pip install --quiet -e ".[data,dev,napari]" PyQt6 pytest-qt -c constraints.txt
	@touch $@

napari: .venv-napari/setup
	$$(command -v xvfb-run && echo --auto-servernum) .venv-napari/bin/python -m pytest tests/napari_plugin --numprocesses 0

# The tests that compile for long, the benchmarks', and the wheel in a fresh environment.
slow: .venv/dev
	$(PY) -m pytest -m slow

# 10,000 damaged inputs for every reader, in hours; for less: make fuzz INPUTS=300 FUZZ="--reader png"
INPUTS ?= 10000
fuzz: .venv/torch
	$(PY) -m tests.fuzz --inputs $(INPUTS) $(FUZZ)

# What takes hours, not part of .ci/run: besides both, processes that are killed, and long work.
nightly: slow fuzz
	$(PY) -m pytest tests/nightly --numprocesses 0

lint: .venv/dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
