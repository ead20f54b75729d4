# shellcheck shell=bash disable=SC2154,SC2034
# The same image under Podman, started by a user that is not root. Sourced by run.sh.

podman_user=palisade-podman
podman_run=$work/podman

podman_ready() { debian_packages podman:podman newuidmap:uidmap runc:runc; }
# Without systemd there is nobody to time the health checks; the tests ask themselves. runc, because of old kernels' cgroups.
as_user() {
  setpriv --reuid "$podman_user" --regid "$podman_user" --init-groups env --ignore-environment HOME="$podman_run/home" \
    XDG_RUNTIME_DIR="$podman_run/run" PATH=/usr/bin:/bin:/usr/sbin:/sbin podman --log-level error --cgroup-manager cgroupfs --runtime runc "$@"
}
podman_up() {
  mkdir -p "$podman_run"
  chmod 0711 "$podman_run"
  useradd --create-home --home-dir "$podman_run/home" "$podman_user" || return 1
  install --directory --owner "$podman_user" --mode 0700 "$podman_run/run"
  docker save "$image" --output "$podman_run/image.tar"
  chmod 0644 "$podman_run/image.tar"
  cd / && as_user load --quiet --input "$podman_run/image.tar"
}
podman_down() {
  [ -d "$podman_run/home" ] || return 0
  (cd / && as_user rm --force --all --time 2) >/dev/null 2>&1
  # The pause process holds the user's namespaces open.
  local pid
  for pid in $(pgrep --uid "$podman_user"); do kill "$pid" 2>/dev/null; done
  eventually 10 refuses pgrep --uid "$podman_user" >/dev/null
  userdel "$podman_user" 2>/dev/null
  true
}
podman_service_runs() {
  cd / && as_user run --detach --name palisade --no-healthcheck --network none --read-only --cap-drop all \
    --security-opt no-new-privileges "${without_keys[@]}" --tmpfs /tmp:rw,noexec,nosuid,nodev,size=16m "$(as_user images --quiet | head -n 1)" &&
    eventually 20 as_user exec palisade /usr/local/bin/api healthcheck
}
podman_pid() { (cd / && as_user inspect --format '{{.State.Pid}}' palisade); }
podman_status_is() { is "$2" "$(awk -v key="$1:" '$1 == key { print $2 }' "/proc/$(podman_pid)/status")"; }
podman_user_is_mapped() {
  local first
  first=$(awk -F : -v user="$podman_user" '$1 == user { print $2 }' /etc/subuid)
  # The user itself is number 0 of the namespace, so the next one is 1.
  podman_status_is Uid $((first + 65531))
}
podman_stops_orderly() { cd / && as_user stop --time 10 palisade >/dev/null && is 0 "$(as_user inspect --format '{{.State.ExitCode}}' palisade)"; }

probe_podman() {
  if [ "$(id -u)" -ne 0 ]; then
    skip podman "only root can make a user for it"
    return
  elif ! podman_ready; then
    skip podman "$cannot"
    return
  fi
  check podman-takes-the-image podman_up || return 0
  check podman-rootless-service-runs podman_service_runs
  check podman-rootless-user-is-mapped podman_user_is_mapped
  check podman-rootless-has-no-capability podman_status_is CapBnd 0000000000000000
  check podman-rootless-cannot-gain-privileges podman_status_is NoNewPrivs 1
  check podman-rootless-has-a-filter podman_status_is Seccomp 2
  check podman-rootless-stops-orderly podman_stops_orderly
}
