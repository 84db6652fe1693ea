"""``python -m railbus``: a demonstration."""

from __future__ import annotations

import argparse
import sys

import railbus
from railbus.demo import demo


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m railbus``."""
    parser = argparse.ArgumentParser(
        prog="python -m railbus", description="Events between processes: a demonstration."
    )
    parser.add_argument("--version", action="version", version=f"railbus {railbus.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    with_demo = commands.add_parser("demo", help="publish and receive between two processes (some seconds)")
    with_demo.add_argument(
        "--events", type=int, default=200_000, help="how many, one at a time; default 200,000"
    )
    given = parser.parse_args(arguments)
    if not 1 <= given.events <= 10_000_000:
        parser.error("--events must be from 1 to 10,000,000")
    return demo(given.events)


def _run() -> int:
    try:
        return main()
    except railbus.Error as error:
        print(f"railbus: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(_run())
