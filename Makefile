# What a newcomer and the CI type. `make demo` and `make test` set everything up on a fresh machine.
PYTHON ?= python3
# A GPU user keeps their own build: make setup TORCH="torch --index-url ..." or, where it is installed already, TORCH=
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo setup check test test-slow bench clean

demo: $(READY)
	$(BIN)/python examples/demo.py --out demo

setup: $(READY)

$(READY): pyproject.toml CMakeLists.txt $(wildcard csrc/*)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(TORCH))
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -c "import importlib.util as u; assert u.find_spec('torchvision') is None, 'torchvision breaks transformers beside a CPU build of PyTorch'"
	$(BIN)/python -m videomamba doctor
	touch $@

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --quiet

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

bench: $(READY)
	$(BIN)/python -m videomamba bench ops
	$(BIN)/python -m videomamba bench model
	$(BIN)/python -m videomamba bench flops
	$(BIN)/python benchmarks/embedded_default.py

clean:
	rm -rf build demo $(VENV)
