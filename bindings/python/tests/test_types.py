"""The stubs say what is there, everything is documented, and all Python code is formatted and typed."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import railbus
from conftest import ROOT

HERE = ROOT / "bindings" / "python"
CONFORMANCE = ROOT / "conformance" / "python"
TARGET = ROOT / "target" / "python"

# Parts that mypy's stubtest cannot see in a compiled module, or reads wrongly.
ALLOWED = r"""
railbus\._railbus\.\w+\.__buffer__
railbus\._railbus\.(Channel|Claim|Job|View)\.__init__
railbus\.records\.(Codec|Follow|Kind|Overflow|Pages|Side|Sync|Wait)
"""


def run(module: str, *arguments: str | Path) -> None:
    environment = {**os.environ, "MYPY_CACHE_DIR": str(TARGET / "mypy")}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=HERE,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout


def test_everything_is_formatted_and_linted() -> None:
    where = ("--no-cache", "--config", HERE / "pyproject.toml", HERE, CONFORMANCE)
    run("ruff", "format", "--check", *where)
    run("ruff", "check", *where)


def test_everything_is_strictly_typed() -> None:
    run("mypy")


def test_the_stubs_say_what_is_there() -> None:
    allowed = TARGET / "stubtest-allowed"
    allowed.write_text(ALLOWED)
    run("mypy.stubtest", "railbus", "--allowlist", allowed, "--ignore-unused-allowlist")


def test_everything_public_is_documented() -> None:
    missing = []
    for name in railbus.__all__:
        thing = getattr(railbus, name)
        if not inspect.getdoc(thing):
            missing.append(name)
        for member, value in (
            vars(thing).items() if inspect.isclass(thing) and not hasattr(thing, "code") else []
        ):
            is_described = inspect.getdoc(value) or member.startswith("_") or not callable(value)
            if not is_described or (type(value).__name__ == "getset_descriptor" and not value.__doc__):
                missing.append(f"{name}.{member}")
    assert missing == []
