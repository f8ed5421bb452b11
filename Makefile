# The two commands of the README are `make demo` and `make test`; everything they need, they set up.

CARGO ?= cargo
ARGS ?=
# Which rungs `make test` runs; see hack/test.
SLUICE_TEST_RUNGS ?= check simulation cluster

.PHONY: demo test check test-tools cluster crds bench

# Shows the main job on a simulated cluster. ARGS=--fast plays it in seconds and says with its exit status whether all went as told.
demo:
	$(CARGO) build --workspace --quiet --bin sluice
	@target/debug/sluice demo $(ARGS)

# All tests, from nothing. Prints what ran and what did not.
test:
	SLUICE_TEST_RUNGS="$(SLUICE_TEST_RUNGS)" hack/test

# The fast part, for the inner loop: format, lints, purity, tables, properties, goldens.
check:
	SLUICE_TEST_RUNGS="check" hack/test

# Builds etcd, the Kubernetes control plane and KWOK once, into a cache outside the work tree.
test-tools:
	tests/controlplane/build.sh

# Leaves a real control plane running, with a kubeconfig for people.
cluster: test-tools
	$(CARGO) build --workspace --quiet --bin sluice-cluster
	@target/debug/sluice-cluster --apply deploy/crds $(ARGS)

# Writes deploy/crds from the types.
crds:
	SLUICE_BLESS=1 $(CARGO) test --quiet -p sluice-api --test it crds

bench:
	$(CARGO) bench -p sluice-engine -p sluice-tests
