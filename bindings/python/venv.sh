#!/bin/sh
# venv.sh REQUIREMENTS: makes the project's one Python environment, target/venv, unless it exists. Installs the
# packages that the file names, unless that is done, and prints the environment's python. $PYTHON (python3) makes
# it. Any number may run at once. Fails with a reason if Python or the packages are not available.
set -eu
wanted=$(realpath "$1")
cd "$(dirname "$0")/../.."
venv=target/venv
python=${PYTHON:-python3}
stamp=$venv/has-$(cksum < "$wanted" | tr ' ' -)
if ! test -e "$stamp"; then
	mkdir -p target
	exec 9> target/.venv-lock
	flock 9
	if ! test -e "$stamp"; then
		$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || {
			echo "the Python parts need $python 3.10 or newer: install python3, python3-venv and" >&2
			echo "python3-dev, or name another: make PYTHON=..." >&2
			exit 1
		}
		# One that was not finished, or whose interpreter has gone, is made again.
		$venv/bin/python -m pip --version > /dev/null 2>&1 || {
			rm -rf $venv
			$python -m venv $venv >&2
		}
		$venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
		: > "$stamp"
	fi
fi
echo "$PWD/$venv/bin/python"
