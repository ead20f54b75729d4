# shellcheck shell=bash disable=SC2154,SC2034
# Probes of the image: what it is made of, and what it says about itself. Each takes an image, or a folder with its files.
# Sourced by run.sh.

field() { docker image inspect --format "$2" "$1"; }

# unpack IMAGE FOLDER: the files of the image, with modes and owners.
unpack() {
  local container
  container=$(docker create "$1" /nothing)
  mkdir -p "$2"
  docker export "$container" | tar --extract --preserve-permissions --same-owner --directory "$2"
  docker rm "$container" >/dev/null
}

has_no_shell() {
  empty "$(find "$1" \( -type f -o -type l \) \( -path '*/bin/*' -o -path '*/sbin/*' \) |
    grep --extended-regexp '/(ba|da|a|z|k|c|tc)?sh$|/busybox$' || true)"
}
has_no_package_manager() {
  empty "$(find "$1" \( -type f -o -type l \) | grep --extended-regexp '/s?bin/(apt|apt-get|dpkg|apk|yum|dnf|rpm|pip|cargo|curl|wget|perl|python[0-9.]*)$' || true)"
}
has_no_setuid() { empty "$(find "$1" -perm /6000)"; }
has_nothing_world_writable() {
  # But the temporary folders of the base, where only the owner of a file can remove it; they are read-only when the image runs.
  empty "$(find "$1" ! -type l ! -path "$1/dev/*" ! \( -type d -perm -1000 \) -perm -0002)"
}
has_no_ca_of_the_build_host() {
  # Certificates that the machine has and Debian's bundle has not; the image must not have them either.
  local file part
  for file in /usr/local/share/ca-certificates/*.crt; do
    [ -e "$file" ] || continue
    part=$(grep -v -- '-----' "$file" | sed -n 2p)
    lacks "$part" "$(cat "$1/etc/ssl/certs/ca-certificates.crt")" >/dev/null || { echo "$file is in the image"; return 1; }
  done
}
has_no_source() { empty "$(find "$1" -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock -o -name .git -o -name target -o -path '*/cargo/*')"; }
adds_only_the_binary() {
  # What the image has beyond its base.
  local added
  added=$(diff <(cd "$2" && find . | sort) <(cd "$1" && find . | sort) | grep '^[<>]' || true)
  is $'> ./usr/local\n> ./usr/local/bin\n> ./usr/local/bin/api' "$added"
}
binary_is_roots_and_read_only() { is '555 0:0' "$(stat --format '%a %u:%g' "$1/usr/local/bin/api")"; }

user_is_numeric() {
  local user
  user=$(field "$1" '{{.Config.User}}')
  [[ $user =~ ^[0-9]+:[0-9]+$ ]] && [ "${user%%:*}" -ge 10000 ] || { echo "user is '$user'"; return 1; }
}
entry_point_is_a_list() { contains '["/usr/local/bin/api"]' "$(field "$1" '{{json .Config.Entrypoint}}')"; }
healthcheck_is_its_own() { contains '["CMD","/usr/local/bin/api","healthcheck"]' "$(field "$1" '{{json .Config.Healthcheck.Test}}')"; }
stop_signal_is_term() { is SIGTERM "$(field "$1" '{{.Config.StopSignal}}')"; }
has_no_volume() { is null "$(field "$1" '{{json .Config.Volumes}}')"; }
has_labels() {
  local label
  for label in title description licenses version revision base.name; do
    [ -n "$(field "$1" "{{index .Config.Labels \"org.opencontainers.image.$label\"}}")" ] || { echo "no label $label"; return 1; }
  done
}
environment_has_no_secret() {
  empty "$(field "$1" '{{range .Config.Env}}{{println .}}{{end}}' | grep --ignore-case --extended-regexp 'pass|secret|token|key|credential' || true)"
}
history_has_no_secret() {
  empty "$(docker history --no-trunc --format '{{.CreatedBy}}' "$1" | grep --ignore-case --extended-regexp '(password|passwd|secret|token|api_?key)[a-z_]*=' || true)"
}
size_is_below() {
  local size
  size=$(($(field "$1" '{{.Size}}') / 1000000))
  [ "$size" -lt "$2" ] || { echo "$size MB"; return 1; }
}

is_pie() { contains DYN "$(readelf --file-header --wide "$1" | grep Type:)" && contains PIE "$(readelf --dynamic --wide "$1")"; }
is_relro() { contains GNU_RELRO "$(readelf --program-headers --wide "$1")" && contains BIND_NOW "$(readelf --dynamic --wide "$1")"; }
has_no_executable_stack() { lacks E "$(readelf --program-headers --wide "$1" | awk '$1 == "GNU_STACK" { print $7 }')"; }
is_stripped() { lacks .symtab "$(readelf --sections --wide "$1")"; }
is_auditable() {
  # JSON, packed with zlib, that names every dependency.
  rm -f "$work/dep"
  objcopy --dump-section .dep-v0="$work/dep" "$1" "$work/copy" &&
    python3 -c 'import json,sys,zlib; names={p["name"] for p in json.loads(zlib.decompress(open(sys.argv[1],"rb").read()))["packages"]}; sys.exit(not {"palisade","hyper","tokio"} <= names)' "$work/dep"
}
starts() {
  docker run --rm --read-only --cap-drop ALL --network none "$1" --help >/dev/null
}

probe_image() {
  local files=$work/files base=$work/base bad=$work/bad binary=$work/files/usr/local/bin/api
  unpack "$image" "$files"
  unpack gcr.io/distroless/cc-debian13:nonroot "$base"

  check image-size-below-40-mb size_is_below "$image" 40
  check image-has-no-shell has_no_shell "$files"
  check image-has-no-package-manager has_no_package_manager "$files"
  check image-has-no-setuid-file has_no_setuid "$files"
  check image-has-nothing-world-writable has_nothing_world_writable "$files"
  check image-has-no-ca-of-the-build-host has_no_ca_of_the_build_host "$files"
  check image-has-no-source has_no_source "$files"
  check image-adds-only-the-binary-to-its-base adds_only_the_binary "$files" "$base"
  check image-binary-is-roots-and-read-only binary_is_roots_and_read_only "$files"
  check image-user-is-numeric user_is_numeric "$image"
  check image-entry-point-is-a-list entry_point_is_a_list "$image"
  check image-healthcheck-is-its-own-binary healthcheck_is_its_own "$image"
  check image-stop-signal-is-term stop_signal_is_term "$image"
  check image-has-no-volume has_no_volume "$image"
  check image-has-oci-labels has_labels "$image"
  check image-environment-has-no-secret environment_has_no_secret "$image"
  check image-history-has-no-secret history_has_no_secret "$image"
  check image-binary-is-position-independent is_pie "$binary"
  check image-binary-has-full-relro is_relro "$binary"
  check image-binary-has-no-executable-stack has_no_executable_stack "$binary"
  check image-binary-is-stripped is_stripped "$binary"
  check image-binary-names-its-dependencies is_auditable "$binary"
  check image-starts-with-the-c-library-of-its-base starts "$image"

  # The same probes must fail on an image that is as careless as most.
  mkdir -p "$work/careless"
  cat >"$work/careless/Dockerfile" <<'EOF'
FROM nginxinc/nginx-unprivileged:stable-trixie
USER root
ARG API_KEY=hunter2
ENV REDIS_PASSWORD=hunter2
VOLUME /data
RUN mkdir -p /app /usr/local/bin && touch /app/main.rs && cp /bin/true /usr/local/bin/api && chmod 4777 /usr/local/bin/api
STOPSIGNAL SIGKILL
HEALTHCHECK CMD curl --fail http://localhost/
ENTRYPOINT /usr/local/bin/api
EOF
  cp /usr/local/share/ca-certificates/*.crt "$work/careless/" 2>/dev/null || true
  docker build --quiet --tag palisade-careless "$work/careless" >/dev/null
  unpack palisade-careless "$bad"
  check control-shell refuses has_no_shell "$bad"
  check control-package-manager refuses has_no_package_manager "$bad"
  check control-setuid refuses has_no_setuid "$bad"
  check control-world-writable refuses has_nothing_world_writable "$bad"
  check control-source refuses has_no_source "$bad"
  check control-adds-only-the-binary refuses adds_only_the_binary "$bad" "$base"
  check control-binary-owner-and-mode refuses binary_is_roots_and_read_only "$bad"
  check control-user refuses user_is_numeric palisade-careless
  check control-entry-point refuses entry_point_is_a_list palisade-careless
  check control-healthcheck refuses healthcheck_is_its_own palisade-careless
  check control-stop-signal refuses stop_signal_is_term palisade-careless
  check control-volume refuses has_no_volume palisade-careless
  check control-labels refuses has_labels palisade-careless
  check control-environment refuses environment_has_no_secret palisade-careless
  check control-history refuses history_has_no_secret palisade-careless
  check control-size refuses size_is_below palisade-careless 40
  check control-dependencies refuses is_auditable "$bad/usr/local/bin/api"
  printf 'int main(void) { return 0; }' | cc -no-pie -Wl,-z,norelro -Wl,-z,execstack -x c -o "$work/weak" - 2>/dev/null
  check control-position-independent refuses is_pie "$work/weak"
  check control-relro refuses is_relro "$work/weak"
  check control-executable-stack refuses has_no_executable_stack "$work/weak"
  check control-stripped refuses is_stripped "$work/weak"
  mkdir -p "$work/bad-ca/etc/ssl/certs"
  cat "$files/etc/ssl/certs/ca-certificates.crt" /usr/local/share/ca-certificates/*.crt >"$work/bad-ca/etc/ssl/certs/ca-certificates.crt" 2>/dev/null || true
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    check control-ca-of-the-build-host refuses has_no_ca_of_the_build_host "$work/bad-ca"
  fi
  docker rmi --force palisade-careless >/dev/null
}
