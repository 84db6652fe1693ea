"""Whatever dies first, nothing looks at memory that is no longer its own.

Each scene of lifetime_scenes.py runs in an interpreter of its own, which fills freed memory with a pattern,
so that a look at it crashes. `make python-test-deep` runs them under AddressSanitizer and in a debug
interpreter, too: see sanitized.sh.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lifetime_scenes
import pytest

from conftest import HANG


@pytest.mark.parametrize("name", [run.__name__ for run in lifetime_scenes.SCENES])
def test_nothing_outlives_its_memory(name: str) -> None:
    environment = {"PYTHONMALLOC": "debug", "PYTHONFAULTHANDLER": "1", **os.environ}
    ended = subprocess.run(
        # A debug interpreter warns of an event loop that is not closed, which is what a scene is about.
        [
            sys.executable,
            "-B",
            "-W",
            "ignore::ResourceWarning",
            str(Path(__file__).with_name("lifetime_scenes.py")),
            name,
        ],
        env=environment,
        timeout=HANG,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, f"exit code {ended.returncode}: {ended.stdout}{ended.stderr}"
    # Exceptions that are raised where nobody can catch them, such as in a finalizer, are written there.
    assert ended.stderr == ""
