# shellcheck shell=bash disable=SC2154,SC2034
# Finds a Docker engine or starts one, with compose and the base images. Sourced by run.sh.
#
# Where an engine runs already, it is used. Otherwise root on Debian gets `docker.io`, and an engine is started that belongs to
# these tests: own socket, own data, ended when they end. Base images are pulled; where no registry can be reached,
# the script that STANDIN_IMAGES names makes local images of the same names and layout.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/palisade-container
engine_run=$cache/run
engine_pid=''
base_images=(rust:1.95-slim-trixie gcr.io/distroless/cc-debian13:nonroot)
stack_images=(nginxinc/nginx-unprivileged:stable-trixie redis:8-bookworm prom/prometheus:v2.53.3 prom/blackbox-exporter:v0.27.0)

# Why containers cannot be run here; nothing where they can.
cannot=''

debian_packages() {
  local missing=() pair
  for pair in "$@"; do
    need_command "${pair%%:*}" || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ] || ! need_command apt-get; then
    cannot="these Debian packages are missing, and only root can install them: ${missing[*]}"
    return 1
  fi
  echo "installing ${missing[*]}"
  apt-get update -qq
  # Somebody else may be installing something.
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --option DPkg::Lock::Timeout=300 --yes --no-install-recommends "${missing[@]}" >/dev/null ||
    { cannot="these Debian packages cannot be installed: ${missing[*]}"; return 1; }
}

# A newer client wants an extension to build; Debian's own needs none.
docker() {
  if [ -x /usr/bin/docker ]; then
    /usr/bin/docker "$@"
  else
    command docker "$@"
  fi
}

start_engine() {
  if docker info >/dev/null 2>&1; then
    echo "an engine runs: $(docker info --format '{{.ServerVersion}}')"
    return
  fi
  debian_packages dockerd:docker.io iptables:iptables || return
  if [ "$(id -u)" -ne 0 ]; then
    cannot="no engine runs, and only root can start one"
    return 1
  fi
  mkdir -p "$engine_run"
  # One run at a time: the engine ends with the run that started it. Children must not hold the lock after this.
  exec 8>"$cache/lock"
  flock 8
  export DOCKER_HOST=unix://$engine_run/docker.sock
  # The data is kept from one run to the next: base images and build layers are most of the time of a first run.
  setsid dockerd --host "$DOCKER_HOST" --data-root "$cache/data" --exec-root "$engine_run/exec" --pidfile "$engine_run/pid" \
    >"$engine_run/log" 2>&1 </dev/null 8>&- &
  engine_pid=$!
  if ! eventually 60 docker info; then
    cannot="dockerd does not start: $(tail -n 1 "$engine_run/log")"
    return 1
  fi
  echo "started an engine: $(docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}')"
}

stop_engine() {
  [ -n "$engine_pid" ] || return 0
  kill -TERM "$engine_pid" 2>/dev/null || return 0
  # dockerd waits for containers, and nobody else waits for dockerd.
  wait "$engine_pid" || true
  engine_pid=''
}

# The compose command must know `up --wait`: version 2. Debian 13 has it, and its file runs on Debian 12, too.
find_compose() {
  mkdir -p "$cache/docker/cli-plugins"
  export DOCKER_CONFIG=$cache/docker
  docker compose version >/dev/null 2>&1 && return
  local apt=$cache/apt mirror
  mirror=$({ grep --no-filename --only-matching --extended-regexp 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | head -n 1 | tr -d ' ')
  if [ -z "$mirror" ] || ! need_command apt-get; then
    cannot="there is no compose, version 2 or newer"
    return 1
  fi
  mkdir -p "$apt"/{lists/partial,archives/partial,etc/apt.conf.d,etc/preferences.d}
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/etc/sources.list"
  cat >"$apt/apt.conf" <<EOF
Dir::State "$apt"; Dir::State::status "$apt/status"; Dir::Cache "$apt"; Dir::Etc "$apt/etc"; APT::Sandbox::User "root";
EOF
  (
    cd "$apt" || exit
    APT_CONFIG=$apt/apt.conf apt-get -qq update
    APT_CONFIG=$apt/apt.conf apt-get -qq download docker-compose
    dpkg-deb --extract docker-compose_*.deb compose
    cp compose/usr/libexec/docker/cli-plugins/docker-compose "$DOCKER_CONFIG/cli-plugins/"
  )
  docker compose version >/dev/null 2>&1 || { cannot="compose cannot be installed"; return 1; }
}

have_images() {
  local image
  for image in "$@"; do
    docker image inspect "$image" >/dev/null 2>&1 || return 1
  done
}

find_images() {
  local image all=("${base_images[@]}" "${stack_images[@]}")
  have_images "${all[@]}" && return
  for image in "${all[@]}"; do
    timeout 300 docker pull --quiet "$image" 2>/dev/null || break
  done
  have_images "${all[@]}" && return
  if [ ! -x "$STANDIN_IMAGES" ] || [ "$(id -u)" -ne 0 ]; then
    cannot="the base images cannot be pulled, and there are no stand-ins: STANDIN_IMAGES names no program, or this is not root"
    return 1
  fi
  debian_packages debootstrap:debootstrap python3:python3 || return
  echo "making stand-ins for the base images"
  # The script makes all but the last.
  have_images "${all[@]:0:${#all[@]}-1}" || RUST_SUITES=trixie DOCKER=docker "$STANDIN_IMAGES" distroless nginx redis prometheus rust >"$cache/standin.log" 2>&1 || true
  repair_prometheus
  make_blackbox >>"$cache/standin.log" 2>&1 || true
  # The stand-in for Rust is as new as the machine's own Rust.
  have_images rust:1.95-slim-trixie || docker tag rust:1-slim-trixie rust:1.95-slim-trixie || true
  have_images "${all[@]}" || { cannot="stand-ins cannot be made: $(tail -n 1 "$cache/standin.log")"; return 1; }
}

# In the stand-in the program is a link to itself; the tree it was made from still has the program.
repair_prometheus() {
  local context=$work/prometheus tree=${STANDIN_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade-standin}/root/prometheus-trixie
  docker run --rm prom/prometheus:v2.53.3 --version >/dev/null 2>&1 && return
  mkdir -p "$context"
  cp "$tree/usr/bin/prometheus" "$context/"
  printf 'FROM prom/prometheus:v2.53.3\nCOPY prometheus /usr/bin/prometheus\n' >"$context/Dockerfile"
  docker build --quiet --tag prom/prometheus:v2.53.3 "$context" >/dev/null
}

# Made of Debian's packages like the others: the exporter and busybox, as the published image has them.
make_blackbox() {
  local context=$work/blackbox
  have_images prom/blackbox-exporter:v0.27.0 && return
  mkdir -p "$context"
  (
    cd "$context" || exit
    apt-get -qq download prometheus-blackbox-exporter busybox-static
    for package in *.deb; do dpkg-deb --extract "$package" root; done
    cp root/usr/bin/prometheus-blackbox-exporter blackbox_exporter
    cp root/bin/busybox root/usr/bin/busybox . 2>/dev/null || true
    cat >Dockerfile <<'EOF'
FROM gcr.io/distroless/base-debian13:latest
COPY blackbox_exporter /bin/blackbox_exporter
COPY busybox /bin/busybox
COPY busybox /bin/wget
ENTRYPOINT ["/bin/blackbox_exporter"]
EOF
  )
  docker build --quiet --tag prom/blackbox-exporter:v0.27.0 "$context"
}
