#!/bin/sh
# base.sh TAG: the base of the image where no image registry can be reached: a
# Debian of this machine's release from this machine's mirror (or MIRROR=), with
# what Dockerfile would install. Needs root, debootstrap, docker.
set -eu
tag=$1
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
  awk -v suite="$suite" '$2 == suite { print $1; exit }')}
[ -n "$mirror" ] || { echo "base.sh: no mirror for $suite in apt's sources: give MIRROR=" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,fuse3 "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
  tail -20 "$root.log" >&2
  echo "base.sh: debootstrap from $mirror failed; all it said is in $root.log" >&2
  exit 1
}
rm -f "$root.log"
# What no image of Debian has either.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc/* \
  "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/*
mkdir -p "$root"/var/cache/apt/archives/partial "$root"/var/lib/apt/lists/partial
tar -C "$root" --numeric-owner -c . | docker import - "$tag"
