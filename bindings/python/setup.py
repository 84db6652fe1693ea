"""Builds the extension: librailbus.a by cargo, then the Cython module around it, statically linked.

The result needs nothing but libc on the machine where it runs. It is built inside a checkout of the
project, because the Rust sources are there. Intermediate files go to the checkout's `target`, nothing
into the source tree.

A wheel is for the Python that built it. With RAILBUS_ABI3=1 it is for every CPython from 3.11 on, by
the stable ABI, in which every call takes about twice as long: publishing 64 B takes 73 ns in place of
38, receiving 54 in place of 34.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ABI3 = os.environ.get("RAILBUS_ABI3") == "1"
# For sanitized.sh: a build of its own under AddressSanitizer, or for another interpreter.
SANITIZE = os.environ.get("RAILBUS_SANITIZE")
TARGET = ROOT / "target" / (f"python-{SANITIZE}" if SANITIZE else "python-abi3" if ABI3 else "python")

if not (ROOT / "ffi" / "Cargo.toml").is_file():
    sys.exit(f"railbus is built inside a checkout of the project, and {ROOT} is none")
TARGET.mkdir(parents=True, exist_ok=True)
os.chdir(HERE)


def version() -> str:
    """That of the Rust workspace."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if found is None:
        sys.exit(f"{ROOT / 'Cargo.toml'} has no version")
    return found[1]


def static_library() -> str:
    """Builds librailbus.a, and returns its path, which is cargo's configuration."""
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if cargo is None:
        sys.exit("railbus is built with Rust, and there is no cargo in $PATH: install it with rustup")
    command = [
        cargo,
        "build",
        *([] if os.environ.get("RAILBUS_PROFILE") == "debug" else ["--release"]),
        "--package",
        "railbus-ffi",
        "--message-format",
        "json-render-diagnostics",
    ]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        for name in message.get("filenames", []) if message.get("reason") == "compiler-artifact" else []:
            if name.endswith("/librailbus.a"):
                return str(name)
    sys.exit("cargo built no librailbus.a")


class Build(build_ext):
    """Builds the library that it links first."""

    def build_extensions(self) -> None:
        library = static_library()
        for extension in self.extensions:
            extension.extra_objects = [library]
            extension.depends += [library, str(ROOT / "ffi" / "include" / "railbus.h")]
        super().build_extensions()


def extensions() -> list[Extension]:
    from Cython.Build import cythonize

    extension = Extension(
        "railbus._railbus",
        ["src/railbus/_railbus.pyx"],
        include_dirs=[str(ROOT / "ffi" / "include")],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if ABI3 else [],
        py_limited_api=ABI3,
        extra_compile_args=["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address"]
        if SANITIZE == "address"
        else ["-O2"],
        # Hidden, the library's symbols do not clash with another railbus in the process; libgcc is in
        # it, too.
        extra_link_args=[
            "-Wl,--exclude-libs,ALL",
            *(["-fsanitize=address"] if SANITIZE == "address" else ["-Wl,--strip-debug"]),
            "-static-libgcc",
            "-lpthread",
            "-ldl",
            "-lm",
        ],
    )
    return list(
        cythonize([extension], build_dir=os.path.relpath(TARGET / "cython", HERE), include_path=["src"])
    )


setup(
    version=version(),
    ext_modules=extensions(),
    cmdclass={"build_ext": Build},
    options={
        "build": {"build_base": str(TARGET / "build")},
        "egg_info": {"egg_base": str(TARGET)},
        **({"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {}),
    },
)
