# shellcheck shell=bash disable=SC2154,SC2034
# Probes of one container, run as the README says without the stack. Sourced by run.sh.

# shellcheck disable=SC2054 # the commas are those of the options
hardened=(--read-only --cap-drop ALL --security-opt no-new-privileges:true --pids-limit 64 --memory 128m --memory-swap 128m --cpus 1
  --ulimit nofile=4096:4096 --ulimit core=0 --ipc none --tmpfs /tmp:rw,noexec,nosuid,nodev,size=16m,mode=1777)

# Who serves the world without keys has to say so. The stack has keys.
without_keys=(--env API__API_KEYS__REQUIRED=false)

# alone NAME OPTION..: starts the image and waits until it answers.
alone() {
  local name=$1
  shift
  docker rm --force "$name" >/dev/null 2>&1 || true
  docker run --detach --name "$name" "${hardened[@]}" "${without_keys[@]}" --security-opt "seccomp=$example/seccomp/api.json" "$@" "$image" >/dev/null &&
    eventually 20 docker exec "$name" /usr/local/bin/api healthcheck
}
pid_of() { docker inspect --format '{{.State.Pid}}' "$1"; }
status_of() { awk -v key="$2:" '$1 == key { $1 = ""; print substr($0, 2) }' "/proc/$(pid_of "$1")/status"; }
status_is() { is "$3" "$(status_of "$1" "$2")"; }
all_capabilities_are_gone() {
  local set
  for set in CapInh CapPrm CapEff CapBnd CapAmb; do status_is "$1" "$set" 0000000000000000 || return 1; done
}
is_pid_one() { contains 1 "$(awk '/^NSpid:/ { print $NF }' "/proc/$(pid_of "$1")/status")"; }
runs_nothing_else() { is 1 "$(docker top "$1" -o pid | tail -n +2 | wc -l)"; }

# ends_with_two PART OPTION..: exit code 2, one line on standard error, and the line tells the part.
ends_with_two() {
  local part=$1 status=0
  shift
  timeout 30 docker run --rm --network none "${hardened[@]}" "$@" >"$work/out" 2>"$work/err" || status=$?
  is 2 "$status" && is 1 "$(wc -l <"$work/err")" && contains "$part" "$(cat "$work/err")"
}
port_in_use_ends_with_two() {
  local status=0
  timeout 30 docker run --rm --network container:palisade-alone "${without_keys[@]}" "$image" >/dev/null 2>"$work/err" || status=$?
  is 2 "$status" && is 1 "$(wc -l <"$work/err")" && contains 0.0.0.0:8080 "$(cat "$work/err")" && contains "in use" "$(cat "$work/err")"
}

address_of() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }
# 1F90 is port 8080, 01 an established connection.
is_in_flight() { grep --quiet ':1F90 [0-9A-F]*:[0-9A-F]* 01 ' "/proc/$(pid_of "$1")/net/tcp"; }
# drains NAME SECONDS
drains() {
  local answer=$work/answer request
  curl --silent --output /dev/null --write-out '%{http_code}' "http://$(address_of "$1"):8080/slow" >"$answer" &
  request=$!
  eventually 5 is_in_flight "$1" || return 1
  docker stop --time "$2" "$1" >/dev/null
  wait "$request" && is 200 "$(cat "$answer")" && is 'exited 0 false' "$(docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$1")"
}
stops_within() {
  local before=$SECONDS
  docker stop --time 15 "$1" >/dev/null
  [ $((SECONDS - before)) -le "$2" ] || { echo "it took $((SECONDS - before)) s"; return 1; }
  is 0 "$(docker inspect --format '{{.State.ExitCode}}' "$1")"
}

health_is() { is "$2" "$(docker inspect --format '{{.State.Health.Status}}' "$1")"; }
# A service that hangs answers nobody: its state has to change.
hang_is_told() {
  alone palisade-hang --health-interval 1s --health-timeout 1s --health-retries 2 --health-start-period 0s &&
    eventually 20 health_is palisade-hang healthy || return 1
  kill -STOP "$(pid_of palisade-hang)"
  local told=0
  eventually 30 health_is palisade-hang unhealthy || told=1
  kill -CONT "$(pid_of palisade-hang)"
  return "$told"
}

logs_are_json_lines() {
  local lines
  lines=$(docker logs "$1" 2>/dev/null)
  [ -n "$lines" ] || { echo "no line"; return 1; }
  jq --slurp --exit-status 'length > 0 and all(.[]; type == "object")' >/dev/null <<<"$lines"
}

# Attempts from the inside. The program is mounted, for the image has none.
attempt() {
  docker run --rm --network none "${hardened[@]}" --security-opt "seccomp=$example/seccomp/api.json" \
    --volume "$work/attempt:/attempt:ro" --entrypoint /attempt "$image" "$@"
}
allows_only() { is "$1" "$(awk '$2 == "allowed" { print $1 }' <<<"$2" | tr '\n' ' ' | sed 's/ $//')"; }
filter_stops() {
  local line
  for line in unshare-user mount ptrace bpf keyctl perf-event-open io-uring userfaultfd memfd process-vm-readv raw-socket \
    packet-socket symlink chmod-setuid mknod chown setuid-root; do
    contains "$line denied EPERM" "$1" || return 1
  done
}
engine_filter_lets_through() {
  contains 'memfd allowed' "$1" && contains 'symlink allowed' "$1" && contains 'ptrace allowed' "$1"
}
threads_are_bounded() {
  local output
  output=$(attempt threads 300)
  contains 'one-thread-more denied EAGAIN' "$output" && [ "$(awk '$1 == "threads" { print $2 }' <<<"$output")" -lt 64 ]
}
descriptors_are_bounded() { contains 'one-descriptor-more denied EMFILE' "$(attempt descriptors)"; }
memory_is_bounded() {
  local status=0
  attempt memory 256 >/dev/null || status=$?
  is 137 "$status"
}
memory_below_the_limit_is_granted() { contains 'memory allowed' "$(attempt memory 64)"; }
seccomp_profile_is_complete() {
  local traced
  traced=$("$example/seccomp/traced.sh" "$image" API__API_KEYS__REQUIRED=false API__ADMIN__LISTEN=127.0.0.1:18078) || return 1
  [ "$(wc -l <<<"$traced")" -gt 30 ] || { echo "the trace is too short: $traced"; return 1; }
  empty "$(comm -23 <(sort <<<"$traced") <(jq --raw-output '.syscalls[].names[]' "$example/seccomp/api.json" | sort --unique))"
}

probe_alone() {
  check alone-starts-hardened alone palisade-alone
  check process-has-no-capability all_capabilities_are_gone palisade-alone
  check process-cannot-gain-privileges status_is palisade-alone NoNewPrivs 1
  check process-has-a-filter-of-system-calls status_is palisade-alone Seccomp 2
  check process-is-user-65532 status_is palisade-alone Uid '65532 65532 65532 65532'
  check process-is-group-65532 status_is palisade-alone Gid '65532 65532 65532 65532'
  check process-is-pid-one is_pid_one palisade-alone
  check process-is-alone runs_nothing_else palisade-alone
  check port-in-use-ends-with-two port_in_use_ends_with_two
  check logs-are-json-lines-on-standard-output logs_are_json_lines_after_stop

  check bad-listen-address-ends-with-two ends_with_two server.listen --env API__SERVER__LISTEN=nowhere "$image"
  check unknown-setting-ends-with-two ends_with_two API__SERVER__LISTEN_ON --env API__SERVER__LISTEN_ON=x "$image"
  check missing-settings-file-ends-with-two ends_with_two /etc/palisade.toml "$image" --config /etc/palisade.toml
  : >"$work/unreadable"
  chmod 0 "$work/unreadable"
  check unreadable-settings-file-ends-with-two ends_with_two /settings.toml --volume "$work/unreadable:/settings.toml:ro" "$image" --config /settings.toml

  check missing-keys-end-with-two ends_with_two 'API_KEYS is missing, looked for it in' "$image"
  : >"$work/empty"
  chmod 0444 "$work/empty"
  check empty-keys-end-with-two ends_with_two '/run/secrets/API_KEYS is empty' --volume "$work/empty:/run/secrets/API_KEYS:ro" "$image"
  check unreadable-keys-end-with-two ends_with_two '/run/secrets/API_KEYS cannot be read: permission denied' --volume "$work/unreadable:/run/secrets/API_KEYS:ro" "$image"
  echo '{"client": "sha256:0123"}' >"$work/broken"
  chmod 0444 "$work/broken"
  PALISADE_SECRETS=$work/alone "$example/secrets.sh"
  check wrong-digest-of-a-key-ends-with-two ends_with_two '/run/secrets/API_KEYS cannot be parsed as API keys' --volume "$work/broken:/run/secrets/API_KEYS:ro" "$image"
  check broken-certificate-ends-with-two ends_with_two /run/secrets/tls.crt "${without_keys[@]}" --env API__TLS__CERTIFICATE=/run/secrets/tls.crt \
    --env API__TLS__KEY=/run/secrets/tls.key --volume "$work/broken:/run/secrets/tls.crt:ro" --volume "$work/alone/tls.key:/run/secrets/tls.key:ro" "$image"
  check unreadable-certificate-ends-with-two ends_with_two /run/secrets/tls.crt "${without_keys[@]}" --env API__TLS__CERTIFICATE=/run/secrets/tls.crt \
    --env API__TLS__KEY=/run/secrets/tls.key --volume "$work/unreadable:/run/secrets/tls.crt:ro" "$image"

  local files calls
  files=$(attempt files)
  check files-only-tmp-can-be-written allows_only create-in:/tmp "$files"
  check files-nothing-starts-from-tmp contains 'start-from:/tmp denied EACCES' "$files"
  check control-files refuses allows_only create-in:/tmp "$(docker run --rm --network none --user 0 --volume "$work/attempt:/attempt:ro" --entrypoint /attempt "$image" files)"
  calls=$(attempt calls)
  check calls-forbidden-ones-fail filter_stops "$calls"
  check control-calls-without-the-profile engine_filter_lets_through "$(docker run --rm --network none --volume "$work/attempt:/attempt:ro" --entrypoint /attempt "$image" calls)"
  check calls-of-the-service-are-all-in-the-profile seccomp_profile_is_complete

  check limit-of-processes-bites threads_are_bounded
  check limit-of-descriptors-bites descriptors_are_bounded
  check limit-of-memory-bites memory_is_bounded
  check limit-of-memory-leaves-enough memory_below_the_limit_is_granted
  check health-tells-a-service-that-hangs hang_is_told

  check stop-lets-a-request-in-flight-end drains palisade-alone 15
  docker start palisade-alone >/dev/null && eventually 20 docker exec palisade-alone /usr/local/bin/api healthcheck
  check control-stop-without-time refuses drains palisade-alone 0
  check stop-when-idle-is-quick stops_within palisade-hang 3
  docker rm --force palisade-alone palisade-hang >/dev/null 2>&1 || true
}

# The service says something when it stops.
logs_are_json_lines_after_stop() {
  alone palisade-logs && docker stop --time 15 palisade-logs >/dev/null && logs_are_json_lines palisade-logs
  local status=$?
  docker rm --force palisade-logs >/dev/null 2>&1
  return "$status"
}
