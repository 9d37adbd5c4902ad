# `make` lists what there is. Nothing is needed but Python 3.11 or newer and make: every command that wants packages
# goes through bootstrap.py, which makes .venv when it is missing or out of date.
PYTHON ?= python3
run := $(PYTHON) bootstrap.py --
dev := $(PYTHON) bootstrap.py --dev --
.DEFAULT_GOAL := help
.PHONY: help up test lint format check check-pages screenshots migrations schema bench trust trust-fast lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /	/' | expand -t 14

up: ## Start everything on this machine (PORT=8000 chooses the port); Ctrl-C ends it
	@exec $(PYTHON) bootstrap.py --die-with-parent -- manage.py up

test: ## Run the tests, but for those of check-pages (ARGS="-k story" narrows them)
	@$(dev) -m pytest -n 2 --dist loadfile --ignore tests/pages $(ARGS)

lint: ## Check format, style, types and the rules of who may import whom
	@$(dev) -m ruff format --check .
	@$(dev) -m ruff check .
	@$(dev) -m mypy .
	@$(dev) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format: ## Put the code into the one format
	@$(dev) -m ruff format .
	@$(dev) -m ruff check --fix-only .

check: lint test check-pages trust-fast ## All that CI checks

check-pages: ## Crawl every page as everybody, then look at each in Chromium (ARGS="-k keys" narrows it)
	@$(dev) -m pytest -n 2 --dist worksteal tests/pages $(ARGS)

screenshots: ## Picture every page, light and dark, 360 and 1280 px wide, in build/screens
	@$(dev) -m pytest -q -n 2 --dist worksteal tests/pages/screens.py $(ARGS)

migrations: ## Write migrations for changed models
	@DJANGO_SETTINGS_MODULE=config.settings_test $(dev) manage.py makemigrations

schema: ## Write docs/api/openapi.yaml from the code
	@DJANGO_SETTINGS_MODULE=config.settings_test $(dev) manage.py spectacular --file docs/api/openapi.yaml

bench: ## Measure speed beside others (ARGS=streaming, growth or memory)
	@$(dev) -m bench $(or $(ARGS),gateway)

trust: ## Try to break what must hold, as often as at night (ARGS="T19 --seed 7" narrows it, ARGS=list shows it)
	@$(dev) -m trust $(or $(ARGS),full)

trust-fast: ## The same, in a few minutes
	@$(dev) -m trust fast $(ARGS)

lock: ## Pin what *.in name, with hashes, into *.txt (ARGS=--upgrade takes newer versions)
	@$(dev) -m uv pip compile --quiet --generate-hashes --universal --python-version 3.11 $(ARGS) requirements.in -o requirements.txt
	@$(dev) -m uv pip compile --quiet --generate-hashes --universal --python-version 3.11 $(ARGS) requirements-dev.in -o requirements-dev.txt

clean: ## Remove what can be made again (.venv and caches, not the data in var/)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis staticfiles build
	@find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +
