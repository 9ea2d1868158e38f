#!/usr/bin/env bash
# What `make release` does: static binaries, archives, SBOMs and checksums of the
# committed tree, in OUT; then all of it again in another directory and with an
# empty build cache, which has to come out the same to the byte.
# usage: deploy/release.sh VERSION OUT
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1 out=$2
export GO=${GO:-go} CGO_ENABLED=0 GOFLAGS= GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= LC_ALL=C TZ=UTC
targets="amd64 arm64"
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

[ -z "$(git status --porcelain)" ] || { echo "release: uncommitted changes; commit them, a release is made of a commit" >&2; exit 1; }
commit=$(git rev-parse --short=12 HEAD)
epoch=$(git show -s --format=%ct HEAD)

# pack DIR OUT: builds the source in DIR. Nothing but the commit, the version and
# Go's own version may show in the result.
pack() {
	mkdir -p "$2"
	for arch in $targets; do
		name=litefence_${version}_linux_$arch
		mkdir "$1/$name"
		# No VCS stamp: there is no repository here, and the commit is set by hand.
		GOARCH=$arch "$GO" build -C "$1" -trimpath -buildvcs=false -o "$name/litefence" \
			-ldflags "-s -w -X main.buildVersion=$version -X main.buildCommit=$commit" ./cmd/litefence
		cp -r "$1"/{LICENSE,README.md,CHANGELOG.md,deploy} "$1/$name/"
		tar -C "$1" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=gnu -cf - "$name" |
			gzip -n -9 > "$2/$name.tar.gz"
		# Of the binary: what is in it and nothing else. What it warns of, licenses
		# that it cannot tell and our own module that is in no proxy, is no error.
		env -u GOOS "$GO" run -trimpath $sbom bin -json -std -licenses -noserial -notimestamp \
			-version "$version" -output "$2/$name.cdx.json" "$1/$name/litefence" 2> "$1/sbom.log" || { cat "$1/sbom.log" >&2; return 1; }
	done
	(cd "$2" && sha256sum litefence_* > SHA256SUMS)
}

# works OUT: each binary is one for its architecture, static, and runs where that
# can be tried.
works() {
	for arch in $targets; do
		name=litefence_${version}_linux_$arch
		tar -C "$tmp" -xzf "$1/$name.tar.gz" "$name/litefence"
		bin=$tmp/$name/litefence
		case $arch in amd64) machine=62 qemu=qemu-x86_64-static ;; arm64) machine=183 qemu=qemu-aarch64-static ;; esac
		[ "$(od -An -tu2 -j18 -N2 "$bin" | tr -d ' ')" = $machine ] || { echo "release: $name: not for $arch" >&2; return 1; }
		"$GO" version -m "$bin" | grep -q 'CGO_ENABLED=0' || { echo "release: $name: not static" >&2; return 1; }
		if [ "$("$GO" env GOHOSTARCH)" = "$arch" ]; then run=; elif command -v $qemu >/dev/null; then run=$qemu
		else echo "release: $name: not run, there is no $qemu here (Debian: qemu-user-static)"; continue; fi
		said=$($run "$bin" version)
		case $said in "litefence $version (commit $commit, "*) echo "release: $name: runs${run:+ ($run)}" ;;
		*) echo "release: $name says: $said" >&2; return 1 ;; esac
	done
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for dir in "$tmp/one" "$tmp/another/directory"; do
	mkdir -p "$dir"
	git archive HEAD | tar -xf - -C "$dir"
done
rm -rf "$out"
pack "$tmp/one" "$out"
works "$out"
echo "release: once more, with an empty build cache"
GOCACHE=$tmp/cache pack "$tmp/another/directory" "$tmp/again"
diff "$out/SHA256SUMS" "$tmp/again/SHA256SUMS" || { echo "release: two builds of one commit differ" >&2; exit 1; }
echo "release: two builds, the same checksums:"
cat "$out/SHA256SUMS"
