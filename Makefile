# The commands of newcomers and of CI. `make demo` and `make test` set everything up on a fresh machine.
PYTHON ?= python3
# pip installs this PyTorch first. In an environment that already has PyTorch: make setup TORCH= VENV=$VIRTUAL_ENV
TORCH ?= torch==2.13.0
VENV ?= .venv
# More options of `pip install`
PIP_OPTIONS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo setup check test test-slow test-lowest test-newest wheel-test mutations bench ablation picture docs clean

demo: $(READY)
	$(BIN)/python examples/demo.py --out demo

setup: $(READY)

$(READY): pyproject.toml CMakeLists.txt $(wildcard csrc/*)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(TORCH))
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --editable '.[dev]'
	$(BIN)/python -m videomamba doctor
	touch $@

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --quiet

# The tests with every dependency at the lower bound of pyproject.toml, or at the versions of your own CONSTRAINTS=FILE.
# PyPI's PyTorch for Linux is the build for CUDA: gigabytes.
CONSTRAINTS ?= build/lowest.txt
test-lowest:
	mkdir -p build
	$(PYTHON) -m tests.lowest_versions > build/lowest.txt
	PIP_CONSTRAINT=$(CONSTRAINTS) PIP_BUILD_CONSTRAINT=$(CONSTRAINTS) $(MAKE) test VENV=.venv-lowest TORCH= \
		PIP_OPTIONS='--config-settings=build-dir=build/lowest'

# The tests with the newest release of every dependency: make test-newest PYTHON=python3.13
test-newest:
	rm -f .venv-newest/.ready
	$(MAKE) test VENV=.venv-newest TORCH= \
		PIP_OPTIONS='--config-settings=build-dir=build/newest --upgrade --upgrade-strategy eager'

# The wheel alone, installed into an empty environment in a temporary folder: predict, timeline, finetune.
wheel-test:
	$(PYTHON) -m tests.installed_wheel --torch '$(TORCH)'

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

mutations: $(READY)
	$(BIN)/python -m tests.video.mutations --count 10000 --seed 0 --workers 2 --keep mutated

bench: $(READY)
	$(BIN)/python -m videomamba bench ops
	$(BIN)/python -m videomamba bench model
	$(BIN)/python -m videomamba bench flops
	$(BIN)/python -m videomamba bench efficiency
	$(BIN)/python -m videomamba bench training
	$(BIN)/python -m videomamba bench whole
	$(BIN)/python benchmarks/hour.py
	$(BIN)/python benchmarks/timeline.py
	$(BIN)/python benchmarks/carried_states.py
	$(BIN)/python benchmarks/embedded_default.py
	$(BIN)/python benchmarks/explanations.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/data_loading.py
	$(BIN)/python benchmarks/busy_machine.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/export_scan.py

ablation: $(READY)
	$(BIN)/python benchmarks/scan_orders.py --out runs/scan_orders
	$(BIN)/python benchmarks/masked_pretraining.py --out runs/masked_pretraining
	$(BIN)/python benchmarks/distillation.py --out runs/distillation

picture: $(READY)
	$(BIN)/python examples/timeline.py --out docs/timeline.png
	$(BIN)/python examples/scan.py --out docs

# Fails on a dead link, a missing anchor and a name that the API reference does not find. The variable silences a notice about MkDocs 2.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf build demo mutated site $(VENV) .venv-lowest .venv-newest
