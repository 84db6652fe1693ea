# The Python package: a venv with the requirements of its tests, the package built into it, and its conformance
# program.
# Included by the Makefile.

PYTHON ?= python3
VENV := target/venv
PYTHON_SOURCES := $(shell find bindings/python/src bindings/python/setup.py bindings/python/pyproject.toml \
	ffi/src ffi/include bus/src bus/os bus/ring bus/log Cargo.toml bus/Cargo.toml ffi/Cargo.toml -type f -not -path '*/__pycache__/*')
CONFORMANCE := target/conformance/python

$(VENV)/tools.stamp: bindings/python/requirements-test.txt bindings/python/venv.sh
	@PYTHON="$(PYTHON)" sh bindings/python/venv.sh $< > /dev/null
	@touch $@

# The library in the package is optimised, unless PROFILE=debug: the tests use that, because it takes half a minute less.
PACKAGE := $(VENV)/package-$(PROFILE).stamp
$(PACKAGE): $(VENV)/tools.stamp $(PYTHON_SOURCES)
	CARGO="$(CARGO)" RAILBUS_PROFILE="$(PROFILE)" $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		--no-deps --force-reinstall ./bindings/python
	@rm -f $(VENV)/package-*.stamp
	@touch $@

$(CONFORMANCE): bindings/python/rules.mk
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec "%s" -B "%s" "$$@"\n' "$(CURDIR)/$(VENV)/bin/python" \
		"$(CURDIR)/conformance/python/main.py" > $@.new
	@chmod 755 $@.new
	@mv $@.new $@

.PHONY: python-ready python-test python-test-deep python-test-sanitized
python-ready: tools-present $(PACKAGE) $(CONFORMANCE)

python-test: python-ready
	cd bindings/python && PYTHONDONTWRITEBYTECODE=1 ../../$(VENV)/bin/python -m pytest -q -m "not deep"

python-test-deep: python-ready python-test-sanitized
	cd bindings/python && PYTHONDONTWRITEBYTECODE=1 ../../$(VENV)/bin/python -m pytest -q

# The lifetimes of the extension under AddressSanitizer, and in a debug interpreter if there is one.
python-test-sanitized: python-ready
	CARGO="$(CARGO)" sh bindings/python/sanitized.sh
