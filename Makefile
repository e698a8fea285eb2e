# Two commands matter: `make run` (a server to try) and `make test`.
.DEFAULT_GOAL := help
CARGO ?= cargo

# What --version says of the build. The commit's own time: the same commit builds the same program.
STAMP = FLEET_SERVER_COMMIT=$$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown) \
	FLEET_SERVER_BUILD_TIME=$$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: ## the release binaries, at bin/fleet-server and bin/fleet-load
	$(STAMP) $(CARGO) build --release --locked -p fleet-server -p fleet-load
	mkdir -p bin
	for program in fleet-server fleet-load; do \
		cp -f target/release/$$program bin/$$program.new && mv -f bin/$$program.new bin/$$program; done

.PHONY: run
run: build ## build, then start a server with its own certificates, store, policy and token in ./data
	bin/fleet-server quickstart

.PHONY: test
test: ## every test of the workspace
	@mkdir -p target && rm -f target/test-results.txt
	bash -o pipefail -c '$(CARGO) test --workspace --locked | tee target/test-results.part'
	@mv target/test-results.part target/test-results.txt

.PHONY: compatibility
compatibility: ## write docs/COMPATIBILITY.md from docs/protocol and the last `make test`, or add the output of some tests: RUN=FILE
	$(CARGO) run -q --locked -p test-support --bin compatibility $(RUN)

.PHONY: lint
lint: ## formatting, citations and lints, as CI sees them
	$(CARGO) fmt --all --check
	.ci/citations
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: reference
reference: ## write fleet-server.reference.yml and docs/CONFIGURATION.md anew from the declarations
	$(CARGO) run -q --locked -p fleet-server -- config reference
	$(CARGO) run -q --locked -p fleet-server -- config reference --format markdown

.PHONY: deny
deny: ## licences, bans, sources and advisories of the dependencies
	.ci/deny

.PHONY: bench
bench: build ## every scenario of fleet-load against the release server: writes docs/BENCHMARKS.md, 20 minutes (AGENTS=10000)
	bin/fleet-load bench --server bin/fleet-server --agents $(or $(AGENTS),10000) --output docs/BENCHMARKS.md

.PHONY: torture
torture: ## the long versions of the tests, or ONLY=hostile_clients: prints its plan, then runs one after the other, an hour at most
	CARGO="$(CARGO)" .ci/torture

.PHONY: fuzz
fuzz: ## looks for inputs that break a rule: FUZZ_SECONDS (60) for each target, or for TARGETS="pem kuery"
	CARGO="$(CARGO)" .ci/fuzz $(TARGETS)

.PHONY: api-check
api-check: ## the running server against its own OpenAPI document, with schemathesis; FACES="agents probes" for some
	CARGO="$(CARGO)" .ci/api-check $(FACES)

.PHONY: elastic-check
elastic-check: ## the store on Elasticsearch against a real one, which it builds and starts (needs a JDK 21)
	CARGO="$(CARGO)" .ci/elastic-check

.PHONY: deploy-check
deploy-check: ## chart, image, unit, package, rules and dashboard, with tools it brings itself
	deploy/check/run.sh
