# Two commands are enough: `make run` and `make test`. Both make what they need first.

# The newest Python that all wheels of the lock file exist for. Another one: make run PYTHON=…
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
SOURCES := tokenmix_site gateway catalog billing accounts bench tests manage.py
# What reads the code needs settings, but no servers and no secrets of its own.
CHECK := DJANGO_SETTINGS_MODULE=tokenmix_site.settings.test

.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench lock assets messages

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: $(STAMP) ## Make .venv with the locked dependencies

$(STAMP): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "TokenMix needs Python 3.11, 3.12 or 3.13:" \
		"none was found on the PATH. Install one, or name it: make setup PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "The venv module" \
		"is missing: install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

run: setup ## Run everything on this machine, until Ctrl-C (PORT=8000 SANDBOX_PORT=8090)
	@exec $(BIN)/python -m tokenmix_site.local.run --with-parent

test: setup ## Run all tests, with own throw-away servers and a real browser
	@$(BIN)/python -m tests.chromium
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup ## Read the code: format, lint, types, imports, templates, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djlint --quiet --check templates
	$(BIN)/djlint --quiet --lint templates
	PYTHONPATH=. $(BIN)/lint-imports
	$(CHECK) $(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	$(BIN)/mypy $(filter-out tests,$(SOURCES))

format: setup ## Rewrite the code as the tools want it
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .
	$(BIN)/djlint --quiet --reformat templates || true

bench: setup ## Measure CPU per call and per streamed chunk
	$(BIN)/python -m bench

lock: setup ## Resolve requirements/*.in into locked files
	cd requirements && for name in base dev; do ../$(BIN)/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-header $$name.in -o $$name.txt; done

# The source maps that the files name are not shipped, and static files with hashes need every file.
assets: ## Copy the browser's files from the locked npm packages (needs Node; the copies are committed)
	npm ci --ignore-scripts --no-audit --no-fund
	@put() { d=static/vendor/$$1; mkdir -p $$d; shift; for f in "$$@"; do \
		sed -E 's#^(//|/\*)\# sourceMappingURL=.*##' node_modules/$$f > $$d/$$(basename $$f); done; }; \
	put tabler/1.6.1 @tabler/core/dist/css/tabler.min.css @tabler/core/dist/js/tabler.min.js; \
	put htmx/4.0.1 htmx.org/dist/htmx.min.js htmx.org/LICENSE; \
	put alpine-csp/3.17.4 @alpinejs/csp/dist/cdn.min.js; \
	put uplot/1.6.32 uplot/dist/uPlot.iife.min.js uplot/dist/uPlot.min.css uplot/LICENSE

messages: ## Collect and compile the Chinese texts (needs gettext)
	$(BIN)/django-admin makemessages -l zh_Hans --ignore=.venv --ignore=node_modules --ignore=.data \
		--ignore=tests --ignore=bench --pythonpath . --settings tokenmix_site.settings.test \
		--no-location --no-obsolete
	msgfmt -o locale/zh_Hans/LC_MESSAGES/django.mo locale/zh_Hans/LC_MESSAGES/django.po
