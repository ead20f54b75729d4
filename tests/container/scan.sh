# shellcheck shell=bash disable=SC2154,SC2034
# The scanners, with image and stack there to be looked at; then the same ones on a copy in which each has something to find.
# Sourced by run.sh.

advisories=${SCAN_ADVISORIES:-$root/../shared/advisory-db.tar.gz}

# An advisory against a crate that is in the lock file and in the image's binary.
plant_advisory() {
  local db=$work/planted-advisories/advisory-db
  mkdir -p "$db/crates/tokio"
  cat >"$db/crates/tokio/RUSTSEC-2000-0001.md" <<'EOF'
```toml
[advisory]
id = "RUSTSEC-2000-0001"
package = "tokio"
date = "2000-01-01"

[versions]
patched = []
```

# Planted

To see that the scanners see it.
EOF
  tar --create --gzip --directory "$work/planted-advisories" --file "$work/planted-advisories.tar.gz" advisory-db
}
# After a line that it has, another one.
plant() {
  local file=$work/planted/$1
  grep --quiet --fixed-strings --line-regexp "$2" "$file" || { echo "$1 has no line $2"; return 1; }
  awk -v after="$2" -v line="$3" '{ print } $0 == after && !done { print line; done = 1 }' "$file" >"$work/with-plant" && cat "$work/with-plant" >"$file"
}
plant_findings() {
  local copy=$work/planted api=examples/api
  rm -rf "$copy"
  clean_context "$copy"
  plant_advisory
  echo 'ENTRYPOINT /usr/local/bin/api serve' >>"$copy/$api/Dockerfile"
  plant $api/compose.yaml '  nginx:' '    privileged: true' &&
    plant $api/kubernetes.yaml '  replicas: 2' '  replicaz: 2' &&
    plant $api/kubernetes.yaml '      serviceAccountName: api' '      hostNetwork: true' &&
    plant .github/workflows/scan.yml '    timeout-minutes: 45' '    timeout: 45' &&
    plant .github/workflows/ci.yml '    steps:' '      - run: echo ${{ github.event.pull_request.title }}' || return 1
  # A key of the form that a cloud gives out, in two parts, so that this file is no finding itself.
  printf 'aws_access_key_id = "AKIA%s"\naws_secret_access_key = "%s"\n' IOSFODNN7QYZ3KLM wJalrXUtnFEMIK7MDENGbPxRfiCYzQ83kTn5vL2q >"$copy/$api/planted.toml"
  printf '#!/bin/bash\nfor file in $(ls *.toml); do rm -rf "$file/"*; done\n' >"$copy/$api/planted.sh"
  sed --in-place '0,/> 0.2/s//> 0.9/' "$copy/$api/prometheus/rules.yml"
  git -C "$copy" init --quiet && git -C "$copy" add --all
  # The same image with a C library of long ago.
  mkdir -p "$work/old"
  printf 'Package: libc6\nVersion: 2.36-1\nArchitecture: amd64\n' >"$work/old/libc6"
  printf 'FROM %s\nCOPY libc6 /var/lib/dpkg/status.d/libc6\n' "$image" >"$work/old/Dockerfile"
  docker build --quiet --tag palisade-planted "$work/old" >/dev/null
  # In place of the stack, as one of the copy's.
  stack_down
  docker run --detach --name palisade-soft --privileged --label "com.docker.compose.project.working_dir=$copy/$api" \
    --entrypoint sleep nginxinc/nginx-unprivileged:stable-trixie 600 >/dev/null
}
scan_planted() {
  PALISADE_IMAGE=palisade-planted SCAN_ADVISORIES=$work/planted-advisories.tar.gz "$work/planted/examples/api/scan.sh" 2>&1 || true
  docker rm --force palisade-soft >/dev/null 2>&1
  docker rmi palisade-planted >/dev/null 2>&1
}

# A stand-in has the packages of the day it was made on, and there is no newer one to pull.
standin_age() { [ ! -e "$cache/standin.log" ] || echo $((($(date +%s) - $(stat --format %Y "$cache/standin.log")) / 86400)); }

probe_scan() {
  stack_up || true
  # What is looked at is the stack, not what the tests put beside it.
  clients_down
  local line planted scanner scanners=() age
  while IFS= read -r line; do
    if [ "$line" = 'not ok scan-packages' ]; then
      age=$(standin_age)
      if [ "${age:-0}" -gt 0 ]; then
        skip scan-packages "the stand-in for the base is $age days old, and Debian has newer packages; remove it to make it anew"
        continue
      fi
    fi
    echo "$line"
    case "$line" in
      'ok '*) passed=$((passed + 1)) ;;
      'not ok '*) failed=$((failed + 1)) ;;
      'skipped '*) skipped=$((skipped + 1)) ;;
      *) continue ;;
    esac
    scanner=$(sed 's/^\(not \)\?[a-z]* //; s/:.*//' <<<"$line")
    names+=("$scanner")
    case "$line" in 'ok '* | 'not ok '*) scanners+=("$scanner") ;; esac
  done < <(PALISADE_IMAGE=$image SCAN_ADVISORIES=$advisories "$example/scan.sh" --install 2>&1)

  check scan-findings-are-planted plant_findings || return 0
  planted=$(scan_planted)
  for scanner in "${scanners[@]}"; do
    # Writes a list and judges nothing.
    [ "$scanner" != scan-sbom ] || continue
    check "control-$scanner" contains "not ok $scanner
" "$planted"
  done
}
