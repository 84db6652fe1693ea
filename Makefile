# railbus: `make help` lists what can be made. Needs Rust (with cargo) and a C linker; says so when they are missing.

PREFIX ?= /usr/local
CARGO ?= cargo
# The oldest Rust that builds this: `rust-version` in Cargo.toml.
RUST_WANTED := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RAILBUS := target/release/railbus

# The C library: where its files go, as cargo-c has them. PROFILE=debug installs an unoptimised one, for the tests.
PROFILE ?= release
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# Before 1.0 every minor version is an ABI of its own.
ABI := $(shell echo $(VERSION) | awk -F. '{ print $$1 == 0 ? $$1 "." $$2 : $$1 }')
# What the static library needs: `cargo rustc --package railbus-ffi --lib -- --print native-static-libs`.
LIBS_PRIVATE := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

.DEFAULT_GOAL := help
include bindings/python/rules.mk
.PHONY: help all build demo package python test test-deep bench doctor layout header golden api library fmt lint install install-library \
	test-tools test-go go-conformance clean tools-present fmt-present \
	layout-fresh fuzz-builds

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '%-18s %s\n' "$$name" "$$what"; done

all: build ## what `build` does

build: tools-present ## the program, optimised: target/release/railbus
	$(CARGO) build --release --package railbus-tools

library: tools-present ## the C library: target/release/librailbus.so and librailbus.a
	$(CARGO) build --package railbus-ffi --lib $(if $(filter release,$(PROFILE)),--release)

# Built for a short wait (profile `demo` in Cargo.toml), without the commands whose crates take a while to build.
demo: tools-present ## the main job on real input, with real kills, and latency beside the limit (30 s)
	$(CARGO) build --profile demo --no-default-features --package railbus-tools
	@target/demo/railbus demo

test: fmt-present test-tools ## format, lints and all tests (some minutes)
	@$(MAKE) --no-print-directory go-conformance PROFILE=debug
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings
	$(CARGO) clippy --package railbus-tools --no-default-features --quiet -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --quiet
	@$(MAKE) --no-print-directory layout-fresh python-ready PROFILE=debug
	@sh bindings/python/venv.sh tools/tests/requirements.txt > /dev/null || \
		echo "without Python's packages, the tests of exported files, metrics and spans are skipped" >&2
	$(CARGO) test --workspace --no-fail-fast
	@$(MAKE) --no-print-directory python-test PROFILE=debug
	@$(MAKE) --no-print-directory test-go PROFILE=debug

test-deep: fmt-present test-tools go-conformance ## the same with deeper models and thousands of kills (an hour)
	@$(MAKE) --no-print-directory python-ready fuzz-builds
	RAILBUS_DEEP=1 $(CARGO) test --workspace --no-fail-fast --release
	@$(MAKE) --no-print-directory python-test-deep
	@$(MAKE) --no-print-directory test-go GO_TESTS=test-deep

# The fuzz targets are a workspace of their own, which nothing else builds; to run them needs a nightly compiler.
fuzz-builds: tools-present
	$(CARGO) check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz

# The Go package is left out, with the reason, where there is no Go (or pkg-config) and root does not install it.
GO_TESTS ?= test
test-go: tools-present ## the tests of the Go package
	@if $(MAKE) --no-print-directory --silent -C bindings/go go-present; then \
		$(MAKE) --no-print-directory -C bindings/go $(GO_TESTS); \
		else echo "SKIPPED: the tests of the Go package, for the reason above" >&2; fi

go-conformance: tools-present
	@$(MAKE) --no-print-directory test-go GO_TESTS=conformance

bench: build ## latency and throughput of the three kinds on this machine, beside its limits
	@for kind in stream topic queue; do for payload in 8 56 256; do \
		$(RAILBUS) bench latency --kind $$kind --payload $$payload || exit; \
		$(RAILBUS) bench throughput --kind $$kind --payload $$payload || exit; done; done
	$(CARGO) bench --package railbus-benches

python: python-ready ## the Python package, in a venv of its own: target/venv

doctor: build ## what on this machine costs latency, or stands in the way of huge pages
	@$(RAILBUS) doctor

layout: tools-present ## writes docs/LAYOUT.md from bus/ring/src/layout.rs
	$(CARGO) run --quiet --package railbus --example layout > docs/LAYOUT.md.new
	mv docs/LAYOUT.md.new docs/LAYOUT.md

header: tools-present ## writes ffi/include/railbus.h from the sources of ffi
	RAILBUS_WRITE_HEADER=1 $(CARGO) test --quiet --package railbus-ffi --lib header

golden: tools-present ## writes the images of conformance/, after a change of the layout
	RAILBUS_WRITE_GOLDEN=1 $(CARGO) test --quiet --package railbus-ffi --test golden

api: tools-present ## writes bus/public-api.txt, the list of the public API, after a change of it
	RAILBUS_WRITE_API=1 $(CARGO) test --quiet --package railbus --test api

layout-fresh:
	@$(CARGO) run --quiet --package railbus --example layout | cmp -s - docs/LAYOUT.md || \
		{ echo "docs/LAYOUT.md is not what bus/ring/src/layout.rs says: run \`make layout\`" >&2; exit 1; }

fmt: fmt-present ## formats all Rust code
	$(CARGO) fmt --all

lint: fmt-present ## format and lints only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

# Each crate is built from its own package, as from a registry. It takes some minutes.
PACKAGES := railbus-os railbus-ring railbus-log railbus railbus-bench railbus-tools
package: tools-present ## checks that every crate for the registry can be published; publishes nothing
	$(CARGO) publish --dry-run --locked $(PACKAGES:%=--package %)

install: build install-library ## program, completions, manual pages and C library, under PREFIX (/usr/local), below DESTDIR if set
	install -D -m 755 $(RAILBUS) $(DESTDIR)$(PREFIX)/bin/railbus
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RAILBUS) completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/railbus
	$(RAILBUS) completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_railbus
	$(RAILBUS) completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/railbus.fish
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	$(RAILBUS) man $(DESTDIR)$(PREFIX)/share/man/man1

install-library: library ## only the C library: static and shared, header, pkg-config files
	install -D -m 755 target/$(PROFILE)/librailbus.so $(DESTDIR)$(LIBDIR)/librailbus.so.$(VERSION)
	ln -sf librailbus.so.$(VERSION) $(DESTDIR)$(LIBDIR)/librailbus.so.$(ABI)
	ln -sf librailbus.so.$(VERSION) $(DESTDIR)$(LIBDIR)/librailbus.so
	install -D -m 644 target/$(PROFILE)/librailbus.a $(DESTDIR)$(LIBDIR)/librailbus.a
	install -D -m 644 ffi/include/railbus.h $(DESTDIR)$(INCLUDEDIR)/railbus.h
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	for name in railbus railbus-static; do \
		sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|' \
			-e 's|@VERSION@|$(VERSION)|; s|@LIBS_PRIVATE@|$(LIBS_PRIVATE)|' \
			ffi/$$name.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/$$name.pc || exit; done

clean: ## removes everything that was built
	rm -rf target

# Rust is not installed from here: that is the user's to choose. A linker is a package that root may install.
tools-present:
	@command -v $(CARGO) > /dev/null || { \
		echo "railbus is built with Rust $(RUST_WANTED) or newer, and there is no $(CARGO) in \$$PATH: install Rust with" >&2; \
		echo "rustup (also a package of that name), then run make again." >&2; exit 1; }
	@found=$$($(CARGO) --version | cut -d' ' -f2); \
		oldest=$$(printf '%s\n%s\n' "$(RUST_WANTED)" "$$found" | sort -V | head -n 1); \
		test "$$oldest" = "$(RUST_WANTED)" || { \
		echo "railbus needs Rust $(RUST_WANTED) or newer, this is $$found: run \`rustup update stable\`" >&2; exit 1; }
	@command -v cc > /dev/null || { \
		if test "$$(id -u)" = 0 && command -v apt-get > /dev/null; then \
			apt-get update -qq && apt-get install -y -qq gcc libc6-dev; \
		else echo "there is no C linker (cc): run \`sudo apt-get install gcc libc6-dev\`" >&2; exit 1; fi; }

# The tests of the C library want these; tests that cannot have them say so, and are skipped.
test-tools: tools-present
	@missing=; command -v valgrind > /dev/null || missing="$$missing valgrind"; \
		command -v pkg-config > /dev/null || missing="$$missing pkg-config"; \
		command -v c++ > /dev/null || missing="$$missing g++"; \
		command -v objdump > /dev/null || missing="$$missing binutils"; \
		test -z "$$missing" || { \
		if test "$$(id -u)" = 0 && command -v apt-get > /dev/null; then \
			apt-get update -qq && apt-get install -y -qq $$missing; \
		else echo "some tests of the C library will be skipped: run \`sudo apt-get install$$missing\`" >&2; fi; }

fmt-present: tools-present
	@{ $(CARGO) fmt --version && $(CARGO) clippy --version; } > /dev/null 2>&1 || { \
		echo "rustfmt or clippy is missing: run \`rustup component add rustfmt clippy\`" >&2; exit 1; }
