# shellcheck shell=bash disable=SC2154,SC2034
# The scanners, with image and stack there to be looked at. Sourced by run.sh.

probe_scan() {
  stack_up || true
  # What is looked at is the stack, not what the tests put beside it.
  docker rm --force "$client" >/dev/null 2>&1
  local line
  while IFS= read -r line; do
    echo "$line"
    case "$line" in
      'ok '*) passed=$((passed + 1)) ;;
      'not ok '*) failed=$((failed + 1)) ;;
      'skipped '*) skipped=$((skipped + 1)) ;;
    esac
  done < <(PALISADE_IMAGE=$image SCAN_ADVISORIES=${SCAN_ADVISORIES:-$root/../shared/advisory-db.tar.gz} "$example/scan.sh" --install 2>&1)
}
