#!/bin/sh
# Makes the Python environment that opens exported files, target/export-venv, unless it is there, and prints its python.
# Fails, and says why, where Python or its packages cannot be had.
set -eu
cd "$(dirname "$0")/../.."
venv=target/export-venv
wanted=$(cksum < tools/tests/requirements.txt)
if ! test "$(cat $venv/made-for 2> /dev/null)" = "$wanted"; then
	mkdir -p target
	exec 9> target/.export-venv-lock
	flock 9
	if ! test "$(cat $venv/made-for 2> /dev/null)" = "$wanted"; then
		rm -rf $venv
		python3 -m venv $venv >&2
		$venv/bin/pip install --quiet --disable-pip-version-check -r tools/tests/requirements.txt >&2
		echo "$wanted" > $venv/made-for
	fi
fi
echo "$PWD/$venv/bin/python"
