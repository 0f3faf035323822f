# The commands of every day. `make demo` and `make test` need Python 3.11, git and make, nothing else.
PYTHON ?= python3

.PHONY: demo test autobahn lint format docs bench bench-quick bench-basics bench-hooks bench-reliability reliability-figures clean

.venv/bin/prouter: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -e . numpy
	@touch $@

demo: .venv/bin/prouter  ## the main job, start to end; KEEP=1 leaves it running
	@.venv/bin/python examples/demo.py $(if $(KEEP),--keep)

test:  ## everything that the gate checks
	@bash .ci/run

autobahn: .venv/bin/prouter  ## all of Autobahn's Websocket cases, with and without us in between; ten minutes
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@PROUTER_RELIABILITY=long PROUTER_AUTOBAHN='*' .venv/bin/pytest -q tests/proxy/test_autobahn.py

lint:
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

format:
	.venv/bin/ruff check --fix . && .venv/bin/ruff format .

docs: .venv/bin/prouter  ## the pages that are made from the program, and the site, in out/docs
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@.venv/bin/python docs/generate.py
	@.venv/bin/python -m sphinx -W --keep-going -q -b html docs out/docs

bench: .venv/bin/prouter  ## prouter beside the proxies that people use; half an hour (nginx, haproxy, node and wrk)
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[fast]'
	@.venv/bin/python -m benchmarks.proxies.run

bench-quick: .venv/bin/prouter  ## the same in two minutes
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[fast]'
	@.venv/bin/python -m benchmarks.proxies.run --quick

bench-basics: .venv/bin/prouter  ## starting jobs and daemons, files, original agents, being idle; three minutes
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[fast]'
	@.venv/bin/python -m benchmarks.basics.run

bench-hooks: .venv/bin/prouter  ## what plugins cost a proxied GET and a start here
	@.venv/bin/python -m benchmarks.hooks

bench-reliability: .venv/bin/prouter  ## what must hold under pressure and faults, at full size; hours; ROWS="R1 R4" runs some, RESUME=1 what is left
	@.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@.venv/bin/python -m benchmarks.reliability.run --rows "$(ROWS)" $(if $(RESUME),--resume)

reliability-figures:  ## docs/reliability.md's table and pictures, of what was measured
	@.venv/bin/python -m benchmarks.reliability.run --publish

clean:
	rm -rf .venv out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
