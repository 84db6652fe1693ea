#!/bin/sh
# sanitized.sh: builds the extension twice more, and runs the tests of its lifetimes and views with each:
#   with AddressSanitizer, which finds every use of freed memory in the extension;
#   for a debug interpreter (python3-dbg), which checks reference counts, and calls of the C API without the GIL.
# A tool that is not available here is left out, and the reason is printed.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
venv=$root/target/venv
tests="tests/test_lifetimes.py tests/test_views.py tests/test_payloads.py tests/test_asyncio.py tests/test_batches.py"

# build NAME PYTHON: installs the package below target/python-NAME/site.
build() {
	rm -rf "target/python-$1/site"
	RAILBUS_SANITIZE=$1 "$2" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--target "target/python-$1/site" ./bindings/python
}

# run NAME PYTHON: runs the tests with that package in place of the environment's.
run() {
	(cd bindings/python && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$root/target/python-$1/site" "$2" -m pytest -q $tests)
}

asan=$(cc -print-file-name=libasan.so)
if test -e "$asan"; then
	build address "$venv/bin/python"
	# Every object in memory of its own, which is poisoned when it is freed. The interpreter itself leaks.
	(export LD_PRELOAD="$(realpath "$asan")" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
		run address "$venv/bin/python")
else
	echo "SKIPPED: the lifetimes of the Python package under AddressSanitizer, since there is no libasan" >&2
fi

debug=${DEBUG_PYTHON:-}
for name in python3-dbg python3.14-dbg python3.13-dbg python3.12-dbg python3.11-dbg; do
	test -n "$debug" || debug=$(command -v $name) || true
done
if test -n "$debug" && "$debug" -c 'import sys, venv, ensurepip; sys.gettotalrefcount' 2> /dev/null; then
	test -e target/venv-debug/ready || {
		rm -rf target/venv-debug
		"$debug" -m venv target/venv-debug
		target/venv-debug/bin/python -m pip install --quiet --disable-pip-version-check \
			--requirement bindings/python/requirements-test.txt
		: > target/venv-debug/ready
	}
	build debug "$root/target/venv-debug/bin/python"
	run debug "$root/target/venv-debug/bin/python"
else
	echo "SKIPPED: the lifetimes of the Python package in a debug interpreter: install python3-dbg and python3-venv," >&2
	echo "or name another: DEBUG_PYTHON=..." >&2
fi
