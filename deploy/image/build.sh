#!/bin/sh
# build.sh VERSION REVISION: litefence:dev and litefence-notes:dev by Dockerfile.
# Where its images are here or can be pulled, all is built in it; else from a
# base of our own, litefence-base, and from the binaries in bin/.
# BUILD=pull or BUILD=local decides it by hand.
set -eu
version=$1 revision=$2
go_image=${GO_IMAGE:-golang:1.26-bookworm} base_image=${BASE_IMAGE:-debian:bookworm-slim}

there() { docker image inspect "$1" >/dev/null 2>&1; }
have() { there "$1" || timeout 300 docker pull -q "$1" >/dev/null; }

if [ -z "${BUILD:-}" ]; then
  BUILD=local
  # The base is small: whether it can be pulled is soon known.
  if have "$base_image" 2>/dev/null && have "$go_image"; then BUILD=pull; fi
fi
case $BUILD in
pull) prebuilt= ;;
local)
  echo "build.sh: building on litefence-base, from bin/ (BUILD=$BUILD; the images $base_image and $go_image are not used)"
  there litefence-base || make image-base
  make build bin/notes
  go_image=litefence-base base_image=litefence-base prebuilt=bin
  ;;
*) echo "build.sh: BUILD=$BUILD: want pull or local" >&2; exit 2 ;;
esac
build() {
  docker build -q --build-arg GO_IMAGE="$go_image" --build-arg BASE_IMAGE="$base_image" --build-arg PREBUILT="$prebuilt" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$@" .
}
build --target notes -t litefence-notes:dev
build -t litefence:dev
