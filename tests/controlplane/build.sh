#!/bin/sh
# Builds the control plane that the tests run against: etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler, kubectl and kwok, at the versions that the go.mod files beside this script pin.
#
#   build.sh              build what is missing; the last line of stdout is the folder with the binaries
#   build.sh --print-dir  only print that folder, whether or not it exists
#
# The folder lies outside the work tree and is named after everything that goes into the binaries, so
# a second run has nothing to do and two branches with different pins do not disturb each other:
#
#   ${SLUICE_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice/tools}/<key>
#
# With KUBEBUILDER_ASSETS set, its etcd, kube-apiserver and kubectl are used and only the rest is built.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SLUICE_TOOLS_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or SLUICE_TOOLS_CACHE}/.cache}/sluice/tools}

say() { echo "control plane: $*" >&2; }
die() { say "$@"; exit 1; }

print_only=
case "${1:-}" in
    '') ;;
    --print-dir) print_only=yes ;;
    *) die "unknown argument '$1'; usage: build.sh [--print-dir]" ;;
esac

if ! command -v go >/dev/null 2>&1; then
    die "'go' is not on the PATH, and the tests' control plane is built from Go modules." \
        "Install Go 1.26 or newer (https://go.dev/dl/, or your distribution's golang package)," \
        "or point SLUICE_TOOLS_DIR at a folder with ready binaries."
fi

# The toolchain at hand and exactly the modules that go.sum names. What commit this repository is at has no
# bearing on etcd, and asking git for it fails where the work tree belongs to somebody else.
export GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' GOWORK=off CGO_ENABLED=0
os=$(go env GOOS)
arch=$(go env GOARCH)

digest() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi; }
key=$({
    cd "$here"
    cat build.sh etcd/main.go
    cat etcd/go.mod etcd/go.sum kubernetes/go.mod kubernetes/go.sum kwok/go.mod kwok/go.sum
    echo "$os $arch ${KUBEBUILDER_ASSETS:-}"
} | digest | cut -c1-16)
target=$cache/$key

if [ -n "$print_only" ]; then
    echo "$target"
    exit
fi

finish() { echo "$target"; exit; }
[ -d "$target" ] && finish

mkdir -p "$cache"
# Two runs at once must not both spend minutes of all cores. Without flock (it is part of util-linux)
# they would, and the rename at the end still keeps the result whole.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/$key.lock"
    if ! flock -n 9; then
        say "waiting for another build of $target"
        flock 9
    fi
    [ -d "$target" ] && finish
    rm -rf "$cache/$key.building."* # of a run that was killed: we hold its lock now
fi

staging=$(mktemp -d "$cache/$key.building.XXXXXX")
chmod 755 "$staging"
trap 'rm -rf "$staging"' EXIT
trap 'exit 130' HUP INT TERM

# build MODULE LDFLAGS PACKAGE...
build() {
    module=$1 ldflags=$2
    shift 2
    say "building tests/controlplane/$module"
    (cd "$here/$module" && go build -ldflags="$ldflags" -o "$staging/" "$@") >&2 ||
        die "the build of tests/controlplane/$module failed, see above"
}

# Clients such as Helm and kubectl read the server's version, and without these flags it is v0.0.0-master.
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$here/kubernetes/go.mod")
[ -n "$version" ] || die "tests/controlplane/kubernetes/go.mod requires no k8s.io/kubernetes"
minor=${version#v*.}
minor=${minor%%.*}
major=${version#v}
major=${major%%.*}
v=k8s.io/component-base/version
kubernetes="-s -w -X $v.gitVersion=$version -X $v.gitMajor=$major -X $v.gitMinor=$minor -X $v.gitTreeState=clean"

say "$version for $os/$arch, once, into $target (minutes when Go's build cache is cold)"
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for tool in etcd kube-apiserver kubectl; do
        [ -x "$KUBEBUILDER_ASSETS/$tool" ] || die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $tool"
        ln -s "$KUBEBUILDER_ASSETS/$tool" "$staging/$tool"
    done
    build kubernetes "$kubernetes" \
        k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler
else
    build etcd '-s -w' .
    build kubernetes "$kubernetes" \
        k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
        k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubectl
fi
build kwok '-s -w' sigs.k8s.io/kwok/cmd/kwok

for tool in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok; do
    [ -x "$staging/$tool" ] || die "the build made no $tool"
done
[ -d "$target" ] || mv "$staging" "$target"
finish
