#!/usr/bin/env bash
# Builds the image of examples/api from a clean context, runs it and its stack, and attacks them. One line a probe:
#
#   ok NAME | not ok NAME | skipped NAME: why          and at the end: N passed, N failed, N skipped
#
#   tests/container/run.sh              everything
#   tests/container/run.sh SECTION..    some of: build image alone stack monitoring scan userns podman readme
#
# It wants docker, or root on Debian to install and start it; see engine.sh for where the base images come from. A machine that
# cannot run containers is told so, and the tests are counted as skipped; with CONTAINERS_REQUIRED=1 that is a failure. Nothing
# runs on when this has ended.
#
# The first run on a machine compiles the image twice, with and without BuildKit, and the scanners: about an hour, measured on two cores that
# others used as well. What it has made stays in the user's cache.
# shellcheck disable=SC2034,SC2154 # the parts below use and set these
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
example=$root/examples/api
image=${PALISADE_IMAGE:-palisade-example-api:test}
export STANDIN_IMAGES=${STANDIN_IMAGES:-$root/../shared/containers/standin-images.sh}
work=$(mktemp -d)
# An engine that maps users has to get through.
chmod 0711 "$work"

for part in lib engine build image alone stack monitoring scan userns podman readme; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

all=(build image alone stack monitoring scan userns podman readme)
sections=("$@")
[ ${#sections[@]} -gt 0 ] || sections=("${all[@]}")

clean_up() {
  local status=$?
  set +e
  stack_down
  registry_down
  userns_down
  podman_down
  stop_engine
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

prepare() {
  debian_packages curl:curl jq:jq openssl:openssl python3:python3 readelf:binutils cc:gcc promtool:prometheus strace:strace &&
    start_engine && find_compose && find_images
}

say "preparing"
if ! prepare; then
  echo "THIS MACHINE CANNOT RUN CONTAINERS: $cannot" >&2
  for section in "${sections[@]}"; do
    skip "container-$section" "$cannot"
  done
  closing_line
  [ -z "${CONTAINERS_REQUIRED:-}" ]
  exit
fi

cc -O1 -static -o "$work/attempt" "$here/probe.c"
for section in "${sections[@]}"; do
  say "$section"
  # A probe that fails is counted, and the next one tried.
  "probe_$section" || true
done
closing_line
[ "$failed" -eq 0 ]
