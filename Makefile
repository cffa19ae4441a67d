# The entry points; what they do is in scripts/.
.PHONY: demo test up load model conformance sim kill-points nemesis fuzz abuse mutants check deny help
.DEFAULT_GOAL := demo

demo: ## The whole shop at work, told as a short story
	@scripts/run demo

test: ## All tests, with a real nats-server and PostgreSQL
	@scripts/test

up: ## The whole shop in one process, to point a client at (more by ARGS=...)
	@scripts/run up $(ARGS)

load: ## What an order costs, against its raw parts and a hand-written path (more by ARGS=--help)
	@scripts/load $(ARGS)

model: ## Every way in which an order can go, and what goes wrong without each protection
	@cargo run -p millrace-model

sim: ## The services under a scheduler that a seed decides: SEEDS=n of them, or one SEED=n again (more by ARGS=--help)
	@scripts/sim $(if $(SEEDS),--seeds=$(SEEDS)) $(if $(SEED),--seed=$(SEED)) $(ARGS)

conformance: ## What the simulation's broker and JetStream, and SQLite and PostgreSQL, must both pass (more by ARGS=...)
	@scripts/conformance $(ARGS)

mutants: ## Each protection is switched off in turn, and a test notices (more by ARGS=--help)
	@scripts/mutants $(ARGS)

kill-points: ## A process dies at each point at which that could hurt, and all promises are checked (more by ARGS=--help)
	@scripts/kill-points $(ARGS)

nemesis: ## Real processes under faults while customers buy (MINUTES=2 SEED=n, more by ARGS=--help)
	@scripts/nemesis $(if $(MINUTES),--minutes=$(MINUTES)) $(if $(SEED),--seed=$(SEED)) $(ARGS)

fuzz: ## Feeds all that reads input from outside, guided by coverage: MINUTES=n, TARGET=name (more by ARGS=--help)
	@scripts/fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(TARGET),--target $(TARGET)) $(ARGS)

abuse: ## Attacks on the gateway of a real shop, while a customer goes on buying (more by ARGS=--help)
	@scripts/abuse $(ARGS)

check: ## What CI runs: formatting, lints, protos, tests
	@scripts/check

deny: ## Licences, banned crates and sources (needs cargo-deny)
	@scripts/deny

help: ## This list
	@sed -n 's/^\([a-z-]*\): ## /make \1\t/p' Makefile
