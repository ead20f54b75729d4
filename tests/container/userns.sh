# shellcheck shell=bash disable=SC2154,SC2034
# Root in a container must not be root on the host: the engine settings of examples/api/daemon.json, with an engine of their own.
# Sourced by run.sh.

userns_run=$work/userns

userns() { docker --host "unix://$userns_run/docker.sock" "$@"; }

# In a network namespace of its own, so that it does not touch the rules and bridges of the other one.
userns_up() {
  mkdir -p "$userns_run"
  # The engine makes this user where there is none, and never removes it.
  id dockremap >/dev/null 2>&1 || touch "$userns_run/remove-dockremap"
  setsid unshare --net dockerd --config-file "$example/daemon.json" --host "unix://$userns_run/docker.sock" --data-root "$userns_run/data" \
    --exec-root "$userns_run/exec" --pidfile "$userns_run/pid" >"$userns_run/log" 2>&1 </dev/null &
  echo $! >"$userns_run/started"
  eventually 60 docker --host "unix://$userns_run/docker.sock" info >/dev/null || { tail -n 3 "$userns_run/log"; return 1; }
  docker save "$image" | userns load --quiet >/dev/null
}
userns_down() {
  [ -e "$userns_run/started" ] || return 0
  local pid
  pid=$(cat "$userns_run/started")
  userns rm --force palisade-userns >/dev/null 2>&1
  kill -TERM "$pid" 2>/dev/null
  eventually 30 refuses kill -0 "$pid" >/dev/null
  if [ -e "$userns_run/remove-dockremap" ]; then
    userdel dockremap 2>/dev/null
    groupdel dockremap 2>/dev/null
    sed --in-place '/^dockremap:/d' /etc/subuid /etc/subgid
  fi
  umount --recursive "$userns_run" 2>/dev/null
  true
}
userns_pid_of() { userns inspect --format '{{.State.Pid}}' palisade-userns; }
service_runs() {
  userns run --detach --name palisade-userns "${hardened[@]}" "${without_keys[@]}" --network none "$@" "$image" >/dev/null &&
    eventually 20 userns exec palisade-userns /usr/local/bin/api healthcheck
}
user_is_mapped() {
  local first
  first=$(awk -F : '$1 == "dockremap" { print $2 }' /etc/subuid)
  [ "$first" -gt 0 ] && is "$((first + $1))" "$(stat --format %u "/proc/$2")"
}
root_is_mapped() {
  local id status=0
  id=$(userns run --detach --rm --user 0:0 --network none "${without_keys[@]}" "$image")
  user_is_mapped 0 "$(userns inspect --format '{{.State.Pid}}' "$id")" || status=1
  userns rm --force "$id" >/dev/null
  return "$status"
}
privileged_is_refused() {
  local output
  output=$(userns run --rm --privileged --network none "$image" --help 2>&1) && { echo "it ran"; return 1; }
  contains 'privileged' "$output"
}
new_privileges_are_off_by_default() {
  userns rm --force palisade-userns >/dev/null 2>&1
  userns run --detach --name palisade-userns --network none "${without_keys[@]}" "$image" >/dev/null &&
    contains 1 "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$(userns_pid_of)/status")"
}
logs_are_bounded_by_default() { contains '"max-size":"10m"' "$(userns inspect --format '{{json .HostConfig.LogConfig.Config}}' palisade-userns)"; }

probe_userns() {
  if [ "$(id -u)" -ne 0 ] || ! need_command dockerd; then
    skip userns "only root with dockerd can start an engine with other settings"
    return
  fi
  check userns-engine-starts-with-the-settings userns_up || return 0
  check userns-service-runs service_runs
  check userns-service-is-no-user-of-the-host user_is_mapped 65532 "$(userns_pid_of)"
  check userns-root-in-a-container-is-not-root root_is_mapped
  check userns-privileged-is-refused privileged_is_refused
  check userns-no-new-privileges-by-default new_privileges_are_off_by_default
  check userns-logs-are-bounded-by-default logs_are_bounded_by_default
}
