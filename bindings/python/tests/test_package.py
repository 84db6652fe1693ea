"""The package as it is installed, its programs, and its documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HANG, ROOT
from railbus import Bus, _railbus

DOCUMENT = ROOT / "docs" / "PYTHON.md"


def run(*arguments: str | Path, **environment: str) -> str:
    """Runs Python, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **environment},
        text=True,
        timeout=3 * HANG,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def elf(*arguments: str) -> str:
    assert _railbus.__file__ is not None
    return subprocess.run(
        ["readelf", *arguments, "--wide", _railbus.__file__], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def test_the_extension_needs_nothing_but_libc() -> None:
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", elf("--dynamic")))
    assert needed <= {
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "libdl.so.2",
        "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    }


def test_the_extension_hides_the_library_in_it() -> None:
    symbols = [line.split() for line in elf("--dyn-syms").splitlines()]
    defined = {words[7] for words in symbols if len(words) == 8 and words[6] not in ("UND", "Ndx")}
    assert {name for name in defined if "railbus" in name and not name.startswith("__pyx")} == {
        "PyInit__railbus"
    }


def test_the_demo_works_and_leaves_nothing(bus: Bus) -> None:
    printed = run("-m", "railbus", "demo", "--events", "20000")
    assert printed.count("as published") == 3 and "times the rate of the pipe" in printed
    assert os.listdir(bus.directory) == []


def test_the_program_says_how_it_is_used() -> None:
    assert "demo" in run("-m", "railbus", "--help")
    for wrong in ([], ["nothing"], ["demo", "--events", "0"]):
        done = subprocess.run([sys.executable, "-m", "railbus", *wrong], capture_output=True, text=True)
        assert done.returncode == 2 and "usage" in done.stderr


def test_the_benchmark_runs(bus: Bus) -> None:
    found = json.loads(run(ROOT / "bindings/python/bench.py", "--quick", "--json"))
    assert found["drain"]["million_events_a_second"] > 0
    for name in ("railbus", "pipe", "queue", "zmq"):
        assert 0 < found[f"round_trip_{name}"]["best_us"] <= found[f"round_trip_{name}"]["p50_us"]


EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.mark.deep
def test_one_wheel_for_all_pythons_works_the_same(bus: Bus, tmp_path: Path) -> None:
    here = ROOT / "bindings" / "python"
    build: list[str | Path] = ["--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", tmp_path, here]
    run("-m", "pip", "wheel", *build, RAILBUS_ABI3="1")
    (wheel,) = tmp_path.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", wheel)
    tests = [here / "tests" / name for name in ("test_basics.py", "test_views.py", "test_batches.py")]
    printed = run(
        "-m", "pytest", "-q", "-c", here / "pyproject.toml", *tests, PYTHONPATH=str(tmp_path / "site")
    )
    assert "passed" in printed and "failed" not in printed


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_document_run(bus: Bus, tmp_path: Path, number: int) -> None:
    program = tmp_path / "example.py"
    program.write_text(EXAMPLES[number])
    printed = run(program, RAILBUS_DIR=bus.directory)
    expected = re.findall(r"#> (.*)", EXAMPLES[number])
    assert expected and printed.splitlines() == expected
    assert len(EXAMPLES[number].strip().splitlines()) <= 30


def test_the_document_names_everything() -> None:
    import railbus

    text = DOCUMENT.read_text()
    missing = [name for name in railbus.__all__ if issubclass_of_error(name) and f"`{name}`" not in text]
    assert missing == []


def issubclass_of_error(name: str) -> bool:
    import railbus

    thing = getattr(railbus, name)
    return isinstance(thing, type) and issubclass(thing, railbus.Error)
