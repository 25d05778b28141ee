# Everything goes through here. `make demo` and `make test` need Rust, a C++ compiler, Python 3 with pip, and nothing else.

CARGO  ?= cargo
PYTHON ?= python3
PREFIX ?= /usr/local
TOOLS  := third_party/tools
AXE    := $(TOOLS)/node_modules/axe-core/axe.min.js
BIN    := target/release/neuroloom
DEMO   := demo

.PHONY: build demo test soak check bench peers install advisories clean-demo tools

build: $(BIN)

third_party/libtorch:
	scripts/fetch_libtorch.sh

# Cargo knows what is out of date; make does not ask twice.
.PHONY: $(BIN)
$(BIN): | third_party/libtorch
	$(CARGO) build --release --workspace

demo: build
	scripts/demo.sh $(DEMO)

test: build tools
	NEUROLOOM_TOOLS=$(CURDIR)/$(TOOLS)/bin $(CARGO) test --release --workspace

# What takes minutes: all random moves of all pairs of heads, and the like.
soak: build tools
	NEUROLOOM_TOOLS=$(CURDIR)/$(TOOLS)/bin $(CARGO) test --release --workspace -- --ignored

check: | third_party/libtorch
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path examples/minimal_plugin/Cargo.toml --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items
	$(MAKE) build
	scripts/check_workflows.sh $(BIN)
	$(MAKE) tools
	$(TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

# Asks the advisory database, which lies outside the registries: not part of `check`.
advisories: tools
	$(TOOLS)/bin/cargo-deny check advisories

bench: build
	$(CARGO) bench --workspace --profile release
	$(PYTHON) tests/peers/run.py --steps components
	scripts/bench_batch.sh

# Neuroloom beside its peers, which are installed into a throw-away Python environment: prints the table of docs/performance.md.
# PEERS="--quick" for few repetitions, PEERS="--steps nifti_io resample" for some of the steps.
peers: build
	$(PYTHON) tests/peers/run.py $(PEERS)

# A tree that can be copied to other machines: bin/, lib/neuroloom/plugins/, share/neuroloom/.
install: build
	scripts/install.sh "$(DESTDIR)$(PREFIX)"

tools: $(TOOLS)/.complete $(AXE)

# Judges the report's accessibility; where npm is missing, or cannot install it, that test says that it looked at nothing.
$(AXE):
	-if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix $(TOOLS) axe-core@4.14.1; fi

$(TOOLS)/.complete: scripts/tools.txt
	$(PYTHON) -m pip install -q --disable-pip-version-check --upgrade --target $(TOOLS) -r scripts/tools.txt
	touch $@

clean-demo:
	rm -rf $(DEMO)
