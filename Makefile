# make demo: the whole loop on pictures that come with it.  make test: the tests.
# Both make the environment first; the second time that costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export UV_PYTHON_DOWNLOADS := never
# Demo and tests start dozens of processes; each would compile torch's and other sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-loop test test-slow test-all rehearse templates bench-serving bench-drift bench-labels bench-training bench-prepare bench-predict bench-web lint lock install clean screenshots walkthrough

demo: $(INSTALLED)
	$(BIN)/pixloop demo

# The other half of the loop: drift noticed, people asked in a real Label Studio, retrained, recovered.
demo-loop: $(INSTALLED)
	rm -rf pixloop-loop
	$(BIN)/pixloop demo loop

test: $(INSTALLED)
	$(BIN)/pytest

test-slow: $(INSTALLED)
	$(BIN)/pytest -m "slow or integration"

test-all: test test-slow

# The loop on AWS without AWS.
rehearse: $(INSTALLED)
	rm -rf pixloop-rehearsal
	$(BIN)/pixloop aws rehearse

# What checkov and asl-validator say of the stacks.
templates: $(INSTALLED)
	bash tests/tools/check_templates.sh

# The server against its peers and against what the machine can do; takes about an hour.
bench-serving: $(INSTALLED)
	bash benchmarks/serving/bench.sh $(ARGS)

# How soon drift is noticed, and how often it is wrong, beside Evidently: DATA is a folder a class.
bench-drift: $(INSTALLED)
	$(BIN)/python benchmarks/drift/run.py $(DATA) $(ARGS)

# Accuracy against labels bought: DATA as above, WEIGHTS those of mobilenetv2_100.
bench-labels: $(INSTALLED)
	$(BIN)/python benchmarks/labels/run.py $(DATA) $(WEIGHTS) $(ARGS)

# Pictures of the demos' reports, model cards and pages, to be looked at: desktop, phone, dark, paper.
screenshots: $(INSTALLED)
	$(BIN)/pixloop demo digits
	$(BIN)/pixloop demo shapes
	$(BIN)/python tests/tools/screenshots.py screenshots pixloop-demo pixloop-shapes
	$(BIN)/python -m tests.tools.page_screenshots screenshots pixloop-demo pixloop-shapes $(wildcard pixloop-loop)

# The whole loop being used in a browser, with captions: walkthrough.mp4 and .gif. Needs ffmpeg.
walkthrough: $(INSTALLED)
	rm -rf pixloop-walkthrough
	$(BIN)/python -m tests.tools.walkthrough pixloop-walkthrough screenshots

# How long the pages take on a project with 100,000 predictions and 200 versions, made the first time.
bench-web: $(INSTALLED)
	$(BIN)/python benchmarks/web/run.py pixloop-large $(ARGS)

# Training's throughput and time to accuracy on what is here, beside timm, fastai, Hugging Face and
# AutoGluon in environments of their own (11 GB). DATA holds intel/, bccd/ and weights/.
bench-training: $(INSTALLED)
	$(BIN)/python benchmarks/training/run.py $(DATA) $(ARGS)

# 10,000, 100,000 and a million pictures prepared: rate, memory, cost. Needs 15 GB of disk.
bench-prepare: $(INSTALLED)
	$(BIN)/python benchmarks/prepare/run.py $(ARGS)

# Batch prediction against its predictor alone: BUNDLE .pixloop/bundles/VERSION, which is there once
# that version has predicted; PICTURES a folder.
bench-predict: $(INSTALLED)
	$(BIN)/python benchmarks/predict/run.py $(BUNDLE) $(PICTURES) $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)

$(INSTALLED): requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info[:3] < (3, 14))' || \
		{ echo "pixloop needs Python 3.11.4 to 3.13; run: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The lock covers Python 3.11 to 3.13 and every platform, and names no index.
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --extra dev --extra otel --extra s3 --extra postgres \
		--extra rehearsal --extra ray \
		pyproject.toml --output-file requirements.lock
	# The image: no step uses MLflow, and nothing reads videos.
	printf 'mlflow\nav\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --extra s3 --extra lambda \
		--constraint requirements.lock --excludes - pyproject.toml --output-file requirements-image.lock
	printf 'checkov==3.3.30\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header - --output-file requirements-checkov.lock
	printf 'uv==%s\n' "$$($(BIN)/uv --version | cut -d' ' -f2)" | \
		$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--no-header - --output-file requirements-uv.lock

clean:
	rm -rf $(VENV) pixloop-demo pixloop-shapes pixloop-loop pixloop-rehearsal pixloop-walkthrough pixloop-large screenshots dist benchmarks/serving/.work .pytest_cache .mypy_cache .ruff_cache .hypothesis
