# The two commands that a fresh machine needs: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# TensorRT's bindings without its libraries, 4 MB: tests look up names in them. Other machines have no such wheels.
BINDINGS := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/tensorrt
# axe-core as a Python package ships it, 1 MB, without the browser driver that the package is made for.
AXE    := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/axe
ARGS   ?=
DATA   ?= $(addprefix ../shared/data/,pbc munich)
ELSEWHERE ?= ../shared/data/atlas
SEEN   ?= $(addprefix ../shared/data/,pbc munich smear_fields nuclei anaemia_fields)

.PHONY: demo test check bench cost bundle bundle-cells bundle-centres words manual docs clean

demo: $(VENV)/demo.stamp  ## a simulated microscope, a broker and the page; ARGS="--seconds 30" ends it by itself
	$(BIN)/fnrbc demo $(ARGS)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs device export training tests deploy

bench: $(VENV)/demo.stamp
	$(BIN)/fnrbc bench $(ARGS)

cost: $(VENV)/dev.stamp  ## fails where a frame costs a fifth more than the kept figure; ARGS=--renew keeps today's
	$(BIN)/python tests/bench/regression.py $(ARGS)

# Both networks beside each other, a core each. Where one fails, make lets the other end, fails, and exports nothing.
bundle: $(VENV)/dev.stamp  ## trains and exports the default bundle again, from the real cells in DATA and SEEN, and painted ones
	$(MAKE) --jobs 2 --no-print-directory bundle-cells bundle-centres
	$(BIN)/fnrbc-export onnx build/pnet.pt --see build/see.pt --out device/fnrbc_device/bundles/default
	$(BIN)/fnrbc-train evaluate $(addprefix --data ,$(DATA) $(ELSEWHERE))

bundle-cells: $(VENV)/dev.stamp
	rm -rf build/simulated
	$(BIN)/fnrbc simulate --out build/simulated --cells 1000 --seed 1
	$(BIN)/fnrbc-train cut $(addprefix --data ,$(DATA)) --simulated build/simulated --out build/crops.npz --most-dropped 0.2
	$(BIN)/fnrbc-train cut $(addprefix --data ,$(ELSEWHERE)) --out build/elsewhere.npz
	$(BIN)/fnrbc-train fit --data build/crops.npz --measure build/elsewhere.npz --out build/pnet.pt --events build/events $(ARGS)

bundle-centres: $(VENV)/dev.stamp
	$(BIN)/fnrbc-train see $(addprefix --data ,$(SEEN)) --out build/see.pt

words: $(VENV)/demo.stamp  ## takes changed sentences into the catalogues of all languages
	$(BIN)/python deploy/words.py $(ARGS)

manual: $(VENV)/dev.stamp  ## docs/cli.md and the manual pages, from the programs' own help
	$(BIN)/python deploy/manual.py

docs: $(VENV)/dev.stamp  ## the pages of docs/ as a site, in build/site
	$(PIP) --editable ".[docs]"
	$(BIN)/mkdocs build --strict --site-dir build/site

$(VENV)/demo.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[desktop]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) --editable ".[desktop,training,dev]"
	-$(BINDINGS)/10.3.0 tensorrt-cu12-bindings==10.3.0
	-$(BINDINGS)/10.16.1.11 tensorrt-cu13-bindings==10.16.1.11
	-$(BINDINGS)/11.4.0.106 tensorrt-cu13-bindings==11.4.0.106
	-$(AXE) --constraint constraints.txt axe-playwright-python
	touch $@

clean:
	rm -rf $(VENV) out
