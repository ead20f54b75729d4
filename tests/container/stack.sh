# shellcheck shell=bash disable=SC2154,SC2034
# Probes of the whole stack, from the host, from a client's network and from inside. Sourced by run.sh.

project=palisade-test
https_port=18443
http_port=18080
client=palisade-test-client

compose() {
  PALISADE_SECRETS=$work/secrets PALISADE_HTTPS=127.0.0.1:$https_port PALISADE_HTTP=127.0.0.1:$http_port \
    PALISADE_IMAGE=$image PALISADE_ATTEMPT=$work/attempt \
    docker compose --project-name "$project" --file "$example/compose.yaml" --file "$here/compose.probe.yaml" --file "$work/settings.yaml" \
    --ansi never --progress quiet "$@"
}
# Settings of a probe in place of those of compose.yaml; none puts these back.
no_settings() { echo 'services: {}' >"$work/settings.yaml"; }

stack_down() {
  outside_down
  [ -e "$work/stack.up" ] || return 0
  clients_down
  compose --profile attempt down --volumes --timeout 5 >/dev/null 2>&1
  rm -f "$work/stack.up"
}
# shellcheck disable=SC2046 # names without spaces
clients_down() { docker rm --force $(docker ps --all --quiet --filter "name=^$client") >/dev/null 2>&1; }

# Starts the stack and a client beside nginx, once for all sections that want it.
stack_up() {
  [ ! -e "$work/stack.up" ] || return 0
  no_settings
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh" || return 1
  touch "$work/stack.up"
  compose up --detach --wait --wait-timeout 120 --no-build || { compose logs --tail 20; return 1; }
  docker run --detach --name "$client" --network "${project}_edge" --volume "$work/secrets/tls.crt:/tls.crt:ro" \
    --entrypoint sleep nginxinc/nginx-unprivileged:stable-trixie 3600 >/dev/null
}

api_key() { cat "$work/secrets/api_key"; }
container() { echo "$project-$1-1"; }
# edge OPTION.. PATH: curl as a user of this machine, through the published port. The name and its certificate are checked.
edge() {
  local path=${*: -1}
  curl --silent --show-error --max-time 20 --cacert "$work/secrets/tls.crt" --header "authorization: Bearer $(api_key)" "${@:1:$#-1}" "https://localhost:$https_port$path"
}
edge_status() { edge --output /dev/null --write-out '%{http_code}' "$@"; }
# from_client COMMAND..: in a container that shares nginx's outer network, as a neighbor or the internet would.
from_client() { docker exec "$client" "$@"; }
from_attempt() { compose run --rm --no-deps --quiet-pull attempt "$@"; }

is_hardened() { is_hardened_named "$(container "$1")"; }
is_hardened_named() {
  docker inspect "$1" | jq --raw-output --exit-status '.[0] | [
    (if .HostConfig.ReadonlyRootfs then empty else "root can be written" end),
    (if .HostConfig.CapDrop == ["ALL"] then empty else "has capabilities" end),
    (if (.HostConfig.CapAdd // []) == [] then empty else "adds capabilities" end),
    (if (.HostConfig.SecurityOpt // []) | any(startswith("no-new-privileges")) then empty else "can gain privileges" end),
    (if (.HostConfig.SecurityOpt // []) | any(. == "seccomp=unconfined" or . == "apparmor=unconfined") then "is unconfined" else empty end),
    (if .HostConfig.Memory > 0 and .HostConfig.MemorySwap == .HostConfig.Memory then empty else "memory" end),
    (if .HostConfig.NanoCpus > 0 then empty else "processors" end),
    (if (.HostConfig.PidsLimit // 0) > 0 then empty else "processes" end),
    (if .HostConfig.Privileged then "is privileged" else empty end),
    (if .HostConfig.IpcMode == "none" then empty else "shared memory" end),
    (if (.HostConfig.PidMode + .HostConfig.UTSMode + .HostConfig.UsernsMode) == "" then empty else "namespaces of the host" end),
    (if .HostConfig.NetworkMode == "host" then "network of the host" else empty end),
    (if (.Config.User | test("^[1-9][0-9]*:[0-9]+$")) then empty else "user \(.Config.User)" end),
    (if .Config.Healthcheck.Test then empty else "no healthcheck" end),
    (if .HostConfig.RestartPolicy.Name == "on-failure" and .HostConfig.RestartPolicy.MaximumRetryCount == 5 then empty else "restarts" end),
    (if .HostConfig.LogConfig.Config["max-size"] then empty else "logs without end" end),
    (if (.Mounts | any(.Destination | test("docker.sock"))) then "has the engine" else empty end),
    (.Mounts[] | select(.Type == "bind" and .RW) | "can write \(.Destination)"),
    ((.HostConfig.Tmpfs // {}) | to_entries[] | select(.value | (contains("noexec") and contains("nosuid") and contains("size=")) | not) | "tmpfs \(.key)"),
    (if (.HostConfig.Ulimits // []) | any(.Name == "nofile") then empty else "descriptors" end)
  ] | if . == [] then true else ("\(.)", false) end' || return 1
}
process_is_confined() {
  local id
  id=$(container "$1")
  status_is "$id" CapBnd 0000000000000000 && status_is "$id" CapEff 0000000000000000 && status_is "$id" NoNewPrivs 1 && status_is "$id" Seccomp 2
}
only_nginx_is_published() {
  local published
  published=$(compose ps --format json | jq --raw-output --slurp '[.[] | if type == "array" then .[] else . end] | .[] | .Service as $s | .Publishers[]? | select(.PublishedPort > 0) | "\($s) \(.URL)"' | sort --unique)
  is 'nginx 127.0.0.1' "$published"
}

# ---- network
api_is_hidden() {
  local ip
  for ip in 10.130.241.11 10.130.241.12; do
    refuses from_client curl --silent --max-time 3 "http://$ip:8080/healthz" || return 1
  done
  refuses from_client getent hosts api-1
}
store_is_hidden() {
  local ip
  ip=$(docker inspect --format "{{(index .NetworkSettings.Networks \"${project}_store\").IPAddress}}" "$(container redis)")
  refuses from_client getent hosts redis && refuses from_client curl --silent --max-time 3 "telnet://$ip:6379"
}
# A network namespace beside the machine's stands for the world outside: 198.51.100.2 is for documentation and routed nowhere else.
outside=palisade-outside
outside_up() {
  mkdir -p "$work/outside"
  ip netns add "$outside" && ip link add palisade-out type veth peer name outer netns "$outside" &&
    ip address add 198.51.100.1/30 dev palisade-out && ip link set palisade-out up &&
    ip -netns "$outside" address add 198.51.100.2/30 dev outer && ip -netns "$outside" link set outer up &&
    ip -netns "$outside" route add default via 198.51.100.1 || return 1
  ip netns exec "$outside" python3 -m http.server 18099 --directory "$work/outside" >/dev/null 2>&1 &
  echo $! >"$work/outside.pid"
  eventually 10 curl --silent --output /dev/null http://198.51.100.2:18099/
}
outside_down() {
  [ -e "$work/outside.pid" ] || return 0
  kill "$(cat "$work/outside.pid")" 2>/dev/null
  rm -f "$work/outside.pid"
  ip netns delete "$outside" 2>/dev/null
  ip link delete palisade-out 2>/dev/null
  true
}
outside_can_be_reached_from_the_edge() { from_client curl --silent --output /dev/null --max-time 5 http://198.51.100.2:18099/; }
instance_cannot_reach_out() {
  local output
  output=$(from_attempt connect 198.51.100.2 18099) || return 1
  contains 'connect:198.51.100.2:18099 denied' "$output"
}
# The gateway is the host: services that the host offers on every address.
instance_cannot_reach_the_host() {
  local server status=0
  python3 -m http.server 18098 --directory "$work/outside" >/dev/null 2>&1 &
  server=$!
  eventually 10 curl --silent --output /dev/null http://127.0.0.1:18098/ || status=1
  contains 'connect:10.130.241.1:18098 denied' "$(from_attempt connect 10.130.241.1 18098)" || status=1
  kill "$server" && wait "$server" 2>/dev/null
  return "$status"
}
instance_can_reach_its_neighbor() { contains 'connect:10.130.241.10:8443 allowed' "$(from_attempt connect 10.130.241.10 8443)"; }
inner_paths_are_hidden() {
  local path
  for path in /metrics /healthz /readyz; do is 404 "$(edge_status "$path")" || return 1; done
}

# ---- forwarding headers
whoami() { edge "$@" /whoami | jq --compact-output --sort-keys 'del(.time)'; }
spoof=(--header 'X-Forwarded-For: 203.0.113.9' --header 'X-Forwarded-For: 10.0.0.1' --header 'Forwarded: for=203.0.113.9;proto=http;host=evil.example'
  --header 'X-Forwarded-Proto: http' --header 'X-Forwarded-Host: evil.example' --header 'X-Real-IP: 203.0.113.9'
  --header 'X-Client-IP: 203.0.113.9' --header 'True-Client-IP: 203.0.113.9' --header 'CF-Connecting-IP: 203.0.113.9')
spoofing_through_nginx_changes_nothing() {
  local honest
  honest=$(whoami)
  [ -n "$honest" ] && contains client "$honest" && is "$honest" "$(whoami "${spoof[@]}")"
}
# A neighbor on an inner network is no trusted proxy.
spoofing_past_nginx_changes_nothing() {
  local output ip
  output=$(docker run --rm --network "${project}_metrics" --entrypoint sh nginxinc/nginx-unprivileged:stable-trixie -c \
    'hostname -i; curl --silent --max-time 5 http://api-1:8080/whoami --header "X-Forwarded-For: 203.0.113.9" --header "Forwarded: for=203.0.113.9"')
  ip=$(head -n 1 <<<"$output" | tr -d ' ')
  lacks 203.0.113.9 "$output" || return 1
  # Where plain text is refused, the refusal is the answer.
  case "$output" in *'"client"'*) contains "\"client\":\"$ip\"" "$output" ;; esac
}

# ---- TLS
tls() { openssl s_client -connect "127.0.0.1:$https_port" -servername "${2:-localhost}" -CAfile "$work/secrets/tls.crt" -verify_return_error -cipher 'DEFAULT@SECLEVEL=0' "$1" </dev/null 2>&1; }
speaks() { contains 'Verify return code: 0 (ok)' "$(tls "$1")"; }
does_not_speak() {
  # With what speaks "$2" as the control that the refusal is about the version.
  refuses tls "$1"
}
speaks_http2() { is '2 200' "$(edge --http2 --output /dev/null --write-out '%{http_version} %{http_code}' /whoami)"; }
foreign_name_gets_no_certificate() { contains 'unrecognized name' "$(tls -tls1_2 evil.example)"; }
foreign_host_is_misdirected() { is 421 "$(edge_status --header 'Host: evil.example' /whoami)"; }
plain_text_is_redirected() {
  is '308 https://localhost:8443/notes?x=1' "$(curl --silent --output /dev/null --write-out '%{http_code} %{redirect_url}' "http://localhost:$http_port/notes?x=1")" &&
    lacks evil.example "$(curl --silent --include --header 'Host: evil.example' "http://localhost:$http_port/")"
}
# Not for localhost, where it would bind every other service of a developer's machine.
headers_for() {
  curl --silent --max-time 20 --head --cacert "$work/secrets/tls.crt" --resolve "$1:$https_port:127.0.0.1" \
    --header "authorization: Bearer $(api_key)" "https://$1:$https_port/whoami" | tr '[:upper:]' '[:lower:]'
}
tells_strict_transport() {
  contains 'strict-transport-security: max-age=31536000' "$(headers_for api.example.com)" && lacks strict-transport "$(headers_for localhost)"
}
does_not_tell_its_version() { is 'server: nginx' "$(edge --head /whoami | tr -d '\r' | grep --ignore-case '^server:' | tr '[:upper:]' '[:lower:]')"; }
large_body_is_refused() { is 413 "$(head --bytes 100000 /dev/zero | edge_status --header 'content-type: application/json' --data-binary @- /notes)"; }
flood_is_refused() {
  local statuses
  statuses=$(from_client curl --silent --output /dev/null --write-out '%{http_code}\n' --header "authorization: Bearer $(api_key)" --cacert /tls.crt \
    --connect-to localhost:8443:nginx:8443 "https://localhost:8443/whoami?[1-120]")
  contains 429 "$statuses" && contains 200 "$statuses"
}

# ---- secrets
secret_is_mounted() { grep --extended-regexp 'write-to:/run/secrets/API_KEYS denied E(ROFS|ACCES)$' <<<"$(from_attempt files)"; }
no_secret_in_environments() {
  local service secret
  for service in nginx api-1 api-2 redis prometheus certificate; do
    for secret in "$(cat "$work/secrets/redis_password")" "$(cat "$work/secrets/redis_hash_key")" "$(api_key)" "$(cut -d '"' -f 4 "$work/secrets/API_KEYS")"; do
      service_lacks "$service" "$secret" || return 1
    done
  done >/dev/null
}
service_lacks() {
  local service=$1 secret=$2
  lacks "$secret" "$(tr '\0' '\n' <"/proc/$(pid_of "$(container "$service")")/environ")" &&
    lacks "$secret" "$(tr '\0' '\n' <"/proc/$(pid_of "$(container "$service")")/cmdline")" &&
    lacks "$secret" "$(docker inspect "$(container "$service")")"
}
no_secret_in_logs() {
  local logs
  logs=$(compose logs --no-color 2>&1)
  [ "$(wc -l <<<"$logs")" -gt 10 ] || { echo "there are no logs"; return 1; }
  lacks "$(api_key)" "$logs" >/dev/null && lacks "$(cut -d '"' -f 4 "$work/secrets/API_KEYS")" "$logs" >/dev/null &&
    lacks "$(cat "$work/secrets/redis_password")" "$logs" >/dev/null && lacks "$(cat "$work/secrets/redis_hash_key")" "$logs" >/dev/null && lacks "$(sed -n 2p "$work/secrets/tls.key")" "$logs" >/dev/null
}
serial() { openssl s_client -connect "127.0.0.1:$https_port" -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -serial; }
serial_is_not() { [ "$(serial)" != "$1" ]; }
certificate_is_rotated_without_restart() {
  local before started
  before=$(serial)
  started=$(docker inspect --format '{{.State.StartedAt}}' "$(container nginx)")
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh" --rotate tls
  compose exec --no-TTY nginx nginx -s reload 2>/dev/null
  eventually 10 serial_is_not "$before" && is 200 "$(edge_status /whoami)" &&
    is "$started" "$(docker inspect --format '{{.State.StartedAt}}' "$(container nginx)")"
}

# The old key is good until the next rotation, the one before that is not.
key_is_accepted() { is 200 "$(curl --silent --output /dev/null --write-out '%{http_code}' --cacert "$work/secrets/tls.crt" --header "authorization: Bearer $1" "https://localhost:$https_port/whoami")"; }
key_is_needed() { is 401 "$(curl --silent --output /dev/null --write-out '%{http_code}' --cacert "$work/secrets/tls.crt" "https://localhost:$https_port/whoami")"; }
api_key_is_rotated_without_restart() {
  local first second started
  started=$(docker inspect --format '{{.State.StartedAt}}' "$(container api-1)" "$(container api-2)")
  first=$(api_key)
  key_is_accepted "$first" || return 1
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh" --rotate api_key
  second=$(api_key)
  both_accept "$second" && both_accept "$first" || return 1
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh" --rotate api_key
  both_accept "$(api_key)" && refuses key_is_accepted "$first" &&
    is "$started" "$(docker inspect --format '{{.State.StartedAt}}' "$(container api-1)" "$(container api-2)")"
}
# Both instances answer in turn. Few questions with long pauses: each refusal counts towards a ban.
both_accept() {
  for _ in 1 2 3 4 5 6 7; do
    key_is_accepted "$1" && key_is_accepted "$1" && key_is_accepted "$1" && key_is_accepted "$1" && return
    read -rt 3 <> <(:) || true
  done
  echo "not accepted by both after 21 s"
  return 1
}

# ---- bans: the client guesses; everybody else is served.
guess() {
  from_client curl --silent --output /dev/null --write-out '%{http_code}\n' --cacert /tls.crt --connect-to localhost:8443:nginx:8443 \
    --header 'authorization: Bearer api_0000000000000000000000000000000000000000000000000000000000000000' "https://localhost:8443/whoami?[1-40]"
}
client_status() {
  from_client curl --silent --output /dev/null --write-out '%{http_code}' --cacert /tls.crt --connect-to localhost:8443:nginx:8443 \
    --header "authorization: Bearer $(api_key)" https://localhost:8443/whoami
}
guessing_is_banned() {
  local statuses
  statuses=$(guess)
  contains 401 "$statuses" && contains 403 "$statuses" && is 403 "$(client_status)"
}
client_address_is_the_clients() {
  contains "\"client\":\"$(docker inspect --format "{{(index .NetworkSettings.Networks \"${project}_edge\").IPAddress}}" "$client")\"" \
    "$(from_client curl --silent --cacert /tls.crt --connect-to localhost:8443:nginx:8443 --header "authorization: Bearer $(api_key)" https://localhost:8443/whoami)"
}

# ---- the store
store() { compose exec --no-TTY redis redis-cli --no-auth-warning "$@" 2>&1; }
store_wants_a_password() { contains NOAUTH "$(store ping)"; }
store_lets_health_only_ping() { is PONG "$(store --user health --pass none ping)" && contains NOPERM "$(store --user health --pass none get palisade:x)"; }
store_lets_the_service_only_its_keys() {
  local as=(--user palisade --pass "$(cat "$work/secrets/redis_password")") command
  is OK "$(store "${as[@]}" set palisade:probe 1 ex 5)" && contains NOPERM "$(store "${as[@]}" set other 1)" &&
    contains NOPERM "$(store "${as[@]}" eval "return redis.call('GET', KEYS[1])" 1 other)" &&
    contains NOPERM "$(store "${as[@]}" publish other 1)" || return 1
  for command in flushall 'config get *' 'keys *' 'acl list' 'scan 0' 'script flush' 'client list' 'info' 'monitor' 'shutdown' \
    'function list' 'mget palisade:a' 'expire palisade:a 9' 'rename palisade:a palisade:b'; do
    # shellcheck disable=SC2086 # a command and its arguments
    contains NOPERM "$(set -f; store "${as[@]}" $command)" || return 1
  done
}
# The user has what the service needs: nothing was refused since the start.
store_grants_what_is_needed() {
  local service
  for service in api-1 api-2; do
    lacks 'lacks a permission' "$(docker logs "$(container "$service")" 2>/dev/null)" >/dev/null && lacks 'refuses the user' "$(docker logs "$(container "$service")" 2>/dev/null)" >/dev/null ||
      { docker logs "$(container "$service")" 2>/dev/null | grep 'shared store' | tail -n 3; return 1; }
  done
  [ "$(store --user palisade --pass "$(cat "$work/secrets/redis_password")" zscore palisade:x y)" = '' ]
}
store_password_is_rotated() {
  local before
  before=$(cat "$work/secrets/redis_password")
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh" --rotate redis && compose restart --timeout 5 redis || return 1
  eventually 20 store_accepts "$(cat "$work/secrets/redis_password")" && store_accepts "$before" && is 200 "$(edge_status /whoami)" || return 1
  # The instances have the new one when they are replaced; then the old one can go.
  recreate_instances && PALISADE_SECRETS=$work/secrets "$example/secrets.sh" --rotate redis && compose restart --timeout 5 redis || return 1
  eventually 20 store_accepts "$(cat "$work/secrets/redis_password")" && contains WRONGPASS "$(store --user palisade --pass "$before" get palisade:x)" &&
    recreate_instances && eventually 30 store_is_up_for 2
}
store_accepts() { is '' "$(store --user palisade --pass "$1" get palisade:nothing)"; }
store_refuses_a_wrong_password() { contains WRONGPASS "$(store --user palisade --pass wrong get palisade:x)"; }

# ---- two instances, one limit and one list of bans
# new_client NAME: one more container beside nginx, with an address that no other client has had.
new_client() {
  docker run --detach --name "$client-$1" --network "${project}_edge" --volume "$work/secrets/tls.crt:/tls.crt:ro" \
    --entrypoint sleep nginxinc/nginx-unprivileged:stable-trixie 3600 >/dev/null
}
# as_client NAME PATH: the statuses that it gets.
as_client() {
  docker exec "$client-$1" curl --silent --output /dev/null --write-out '%{http_code}\n' --max-time 30 --cacert /tls.crt \
    --connect-to localhost:8443:nginx:8443 --header "authorization: Bearer $(api_key)" "https://localhost:8443$2"
}
both_have_answered() { is 2 "$(docker logs --tail "$1" "$(container nginx)" 2>/dev/null | jq --raw-output '."upstream.address"' | sort --unique | wc -l)"; }
recreate_instances() { compose up --detach --wait --no-build --no-deps --force-recreate api-1 api-2; }
# A quota of which nothing comes back while the probe lasts.
thirty_an_hour() {
  cat >"$work/settings.yaml" <<EOF
services:
  api-1: &settings
    environment: {API__RATE_LIMIT__QUOTAS: '["30/hour"]'$1}
  api-2: *settings
EOF
  recreate_instances
}
# Sixty requests in turn to both instances meet one quota of thirty. One more may have come back at the edge of two minutes.
thirty_of_sixty_pass() {
  local statuses passed
  new_client "$1" && statuses=$(as_client "$1" '/whoami?[1-60]') && both_have_answered 60 || return 1
  passed=$(grep --count '^200$' <<<"$statuses")
  is $'200\n429' "$(sort --unique <<<"$statuses")" && { [ "$passed" -eq 30 ] || [ "$passed" -eq 31 ] || { echo "$passed passed"; return 1; }; }
}
# Whoever touches a trap at one instance is refused by both.
all_are_refused() { is 403 "$(as_client "$1" '/whoami?[1-10]' | sort --unique)" && both_have_answered 10; }
ban_holds_on_both() {
  new_client trapped && is 200 "$(as_client trapped '/whoami?[1-4]' | sort --unique)" || return 1
  as_client trapped /wp-login.php >/dev/null
  eventually 5 all_are_refused trapped
}
# A new instance takes its requests before it has heard of the bans, for a second at most.
ban_outlives_both_instances() { recreate_instances && eventually 5 all_are_refused trapped; }
each_tells() {
  local service
  for service in api-1 api-2; do contains "\"$1\"" "$(docker logs "$(container "$service")" 2>/dev/null)" >/dev/null || { echo "$service does not tell $1"; return 1; }; done
}
alert_fires_for() { is "$2" "$(query "count(ALERTS{alertname=\"$1\",alertstate=\"firing\"}) or vector(0)" | jq --raw-output '.[0].value[1]')"; }
store_is_up_for() { is "$1" "$(query 'sum(palisade_store_up)' | jq --raw-output '.[0].value[1]')"; }
store_goes_away() {
  compose stop --timeout 5 redis && new_client away && is 200 "$(as_client away '/whoami?[1-10]' | sort --unique)"
}
store_comes_back() { compose start redis >/dev/null 2>&1 && eventually 30 each_tells limiter_store_recovered; }

# ---- replacing instances
# answers_all NUMBER COMMAND..: that many requests, ten a second and so below every limit, while the command is run. Each comes on a
# connection of its own, as from many clients.
answers_all() {
  local number=$1 load status=0
  shift
  curl --silent --show-error --max-time 60 --cacert "$work/secrets/tls.crt" --rate 600/m --header 'Connection: close' \
    --header "authorization: Bearer $(api_key)" \
    --output /dev/null --write-out '%{http_code}\n' "https://localhost:$https_port/whoami?[1-$number]" >"$work/load" 2>&1 &
  load=$!
  "$@" || status=1
  wait "$load" || status=1
  is 200 "$(sort --unique "$work/load")" && is "$number" "$(wc -l <"$work/load")" && return "$status"
}
replace_one_after_the_other() {
  local service
  for service in api-1 api-2; do
    compose up --detach --wait --no-build --no-deps --force-recreate "$service" || return 1
  done
}
# Away for ten requests at least, however fast the machine is.
replace_both_at_once() {
  compose stop --timeout 10 api-1 api-2 && sleep 1 &&
    compose up --detach --wait --no-build --no-deps --force-recreate api-1 api-2
}
stopping_one_is_survived() {
  local statuses
  compose stop --timeout 10 api-1 || return 1
  statuses=$(edge --output /dev/null --write-out '%{http_code}\n' '/whoami?[1-10]' | sort --unique)
  is 'exited 0' "$(docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$(container api-1)")" &&
    compose up --detach --wait --no-build --no-deps api-1 && is 200 "$statuses"
}

# ---- what goes wrong is seen
# fails_to_come_up PART COMMAND..: an instance of a stack of its own, whose secrets COMMAND has spoiled, ends with code 2, says the same
# one line each time it is started again, and `compose up --wait` fails.
wrong() {
  PALISADE_SECRETS=$work/wrong PALISADE_IMAGE=$image docker compose --project-name palisade-wrong --file "$example/compose.yaml" \
    --file "$work/wrong.yaml" --ansi never --progress quiet "$@"
}
fails_to_come_up() {
  local part=$1 status=0 code said
  shift
  rm -rf "$work/wrong"
  cp -rp "$work/secrets" "$work/wrong"
  nothing_spoilt
  "$@" || return 1
  wrong up --detach --wait --wait-timeout 60 --no-build --no-deps api-1 >"$work/out" 2>&1 && { echo "it came up"; status=1; }
  # Until it is not started again.
  [ "$status" -ne 0 ] || eventually 20 has_ended palisade-wrong-api-1-1 || { cat "$work/out"; status=1; }
  code=$(docker inspect --format '{{.State.ExitCode}}' palisade-wrong-api-1-1)
  said=$(docker logs palisade-wrong-api-1-1 2>&1 >/dev/null | sort --unique)
  wrong down --timeout 1 >/dev/null 2>&1
  [ "$status" -eq 0 ] && is 2 "$code" && is 1 "$(wc -l <<<"$said")" && contains "$part" "$said"
}
has_ended() { is exited "$(docker inspect --format '{{.State.Status}}' "$1")"; }
empty_keys() { chmod u+w "$work/wrong/API_KEYS" && : >"$work/wrong/API_KEYS"; }
unreadable_keys() { chmod 0600 "$work/wrong/API_KEYS"; }
broken_digest() { chmod u+w "$work/wrong/API_KEYS" && echo '{"client": "sha256:0123"}' >"$work/wrong/API_KEYS"; }
empty_hash_key() { chmod u+w "$work/wrong/redis_hash_key" && : >"$work/wrong/redis_hash_key"; }
unreadable_store_password() { chmod 0600 "$work/wrong/redis_password"; }
own_certificate() {
  cat >"$work/wrong.yaml" <<'EOF'
services:
  api-1:
    environment: {API__TLS__CERTIFICATE: /run/secrets/tls.crt, API__TLS__KEY: /run/secrets/tls.key}
    secrets: [tls.crt, tls.key]
EOF
}
unreadable_certificate() { own_certificate && chmod 0600 "$work/wrong/tls.crt"; }
broken_certificate() { own_certificate && chmod u+w "$work/wrong/tls.crt" && echo broken >"$work/wrong/tls.crt"; }
one_port_for_two() { echo 'services: {api-1: {environment: {API__ADMIN__LISTEN: "0.0.0.0:8080"}}}' >"$work/wrong.yaml"; }
nothing_spoilt() { echo 'services: {}' >"$work/wrong.yaml"; }

# An image by a digest that the registry does not know: nothing is started, and the line names it.
wrong_image_digest_fails_visibly() {
  local output status=0 image
  image=$registry/base@$(wrong_digest)
  rm -rf "$work/wrong"
  cp -rp "$work/secrets" "$work/wrong"
  # What is built here is not pulled.
  echo 'services: {api-1: {build: !reset null}}' >"$work/wrong.yaml"
  output=$(wrong up --detach --wait --wait-timeout 60 --no-build --no-deps api-1 2>&1) && { echo "it came up"; status=1; }
  wrong down --timeout 1 >/dev/null 2>&1
  [ "$status" -eq 0 ] && contains "$(wrong_digest)" "$output" && { grep --extended-regexp --quiet 'not found|manifest unknown' <<<"$output" || { echo "$output"; return 1; }; }
}

missing_secret_fails_visibly() {
  local other=$work/incomplete
  mkdir -p "$other"
  cp "$work"/secrets/* "$other/" && rm -f "$other/API_KEYS"
  local output
  output=$(PALISADE_SECRETS=$other PALISADE_IMAGE=$image docker compose --project-name palisade-missing --file "$example/compose.yaml" \
    --ansi never up --detach --wait --wait-timeout 60 --no-build redis api-1 2>&1) && { echo "it came up"; return 1; }
  docker compose --project-name palisade-missing --file "$example/compose.yaml" down --volumes >/dev/null 2>&1 || true
  contains API_KEYS "$output"
}
port_in_use_fails_visibly() {
  local output status=0 occupant
  python3 -m http.server "$https_port" --bind 127.0.0.1 --directory "$work" >/dev/null 2>&1 &
  occupant=$!
  eventually 10 curl --silent --output /dev/null "http://127.0.0.1:$https_port/"
  output=$(compose up --detach --wait --wait-timeout 60 --no-build --no-deps nginx 2>&1) && { echo "it came up"; status=1; }
  kill "$occupant" && wait "$occupant" 2>/dev/null
  compose down --volumes >/dev/null 2>&1
  [ "$status" -eq 0 ] && contains "127.0.0.1:$https_port" "$output"
}
broken_certificate_fails_visibly() {
  local output
  chmod u+w "$work/secrets/tls.crt"
  cp "$work/secrets/tls.crt" "$work/tls.crt"
  echo broken >"$work/secrets/tls.crt"
  compose up --detach --wait --wait-timeout 30 --no-build --no-deps --force-recreate nginx >"$work/out" 2>&1 && output='it came up' || output=''
  local logs
  logs=$(compose logs --no-color nginx 2>&1)
  cat "$work/tls.crt" >"$work/secrets/tls.crt"
  compose up --detach --wait --no-build --no-deps --force-recreate nginx || return 1
  empty "$output" && contains /run/secrets/tls.crt "$logs"
}

probe_stack() {
  no_settings
  # Before the stack itself has the addresses.
  PALISADE_SECRETS=$work/secrets "$example/secrets.sh"
  check misconfigured-missing-secret-fails-visibly missing_secret_fails_visibly
  check misconfigured-port-in-use-fails-visibly port_in_use_fails_visibly
  check misconfigured-empty-secret-fails-visibly fails_to_come_up /run/secrets/API_KEYS empty_keys
  check misconfigured-unreadable-secret-fails-visibly fails_to_come_up /run/secrets/API_KEYS unreadable_keys
  check misconfigured-digest-of-a-key-fails-visibly fails_to_come_up sha256 broken_digest
  check misconfigured-empty-hash-key-fails-visibly fails_to_come_up /run/secrets/redis_hash_key empty_hash_key
  check misconfigured-unreadable-store-password-fails-visibly fails_to_come_up /run/secrets/redis_password unreadable_store_password
  check misconfigured-own-certificate-unreadable-fails-visibly fails_to_come_up /run/secrets/tls.crt unreadable_certificate
  check misconfigured-own-certificate-broken-fails-visibly fails_to_come_up /run/secrets/tls.crt broken_certificate
  check misconfigured-own-port-in-use-fails-visibly fails_to_come_up 0.0.0.0:8080 one_port_for_two
  check control-misconfigured refuses fails_to_come_up '' nothing_spoilt
  if registry_up >/dev/null; then
    check misconfigured-digest-of-the-image-fails-visibly wrong_image_digest_fails_visibly
  else
    skip misconfigured-digest-of-the-image-fails-visibly "docker-registry is missing, and only root can install it"
  fi
  check stack-comes-up stack_up || return 0
  for service in nginx api-1 api-2 redis prometheus certificate; do
    check "stack-$service-is-hardened" is_hardened "$service"
    check "stack-$service-process-is-confined" process_is_confined "$service"
  done
  docker run --detach --name palisade-soft --publish 127.0.0.1::8080 nginxinc/nginx-unprivileged:stable-trixie >/dev/null 2>&1 || true
  check control-hardened refuses is_hardened_named palisade-soft
  docker rm --force palisade-soft >/dev/null 2>&1 || true
  check stack-only-nginx-is-published-on-loopback only_nginx_is_published

  check network-instances-are-hidden-from-the-edge api_is_hidden
  check network-store-is-hidden-from-the-edge store_is_hidden
  if [ "$(id -u)" -eq 0 ] && need_command ip; then
    outside_up || echo "the namespace outside cannot be made"
    check control-network-edge-can-reach-out outside_can_be_reached_from_the_edge
    check network-instance-cannot-reach-out instance_cannot_reach_out
    outside_down
  else
    skip network-instance-cannot-reach-out "only root can make the network namespace that stands for the world outside"
  fi
  if [ "$(docker version --format '{{.Server.Version}}' | cut -d . -f 1)" -ge 27 ]; then
    check network-instance-cannot-reach-the-host instance_cannot_reach_the_host
  else
    skip network-instance-cannot-reach-the-host "engines before version 27 ignore the isolated gateway mode"
  fi
  check control-network-instance-reaches-its-neighbor instance_can_reach_its_neighbor
  check network-inner-paths-are-hidden inner_paths_are_hidden

  check client-address-is-the-clients client_address_is_the_clients
  check spoofing-through-nginx-changes-nothing spoofing_through_nginx_changes_nothing
  check spoofing-past-nginx-changes-nothing spoofing_past_nginx_changes_nothing

  check tls-1.2-is-spoken speaks -tls1_2
  check tls-1.3-is-spoken speaks -tls1_3
  check tls-1.1-is-refused does_not_speak -tls1_1
  check tls-1.0-is-refused does_not_speak -tls1
  check tls-http-2-is-spoken speaks_http2
  check tls-foreign-name-gets-no-certificate foreign_name_gets_no_certificate
  check tls-foreign-host-is-misdirected foreign_host_is_misdirected
  check tls-plain-text-is-redirected plain_text_is_redirected
  check tls-hsts-is-on tells_strict_transport
  check edge-does-not-tell-its-version does_not_tell_its_version
  check edge-refuses-a-large-body large_body_is_refused
  check edge-flood-is-refused flood_is_refused

  check secret-is-mounted-read-only secret_is_mounted
  check secret-is-in-no-environment no_secret_in_environments
  check secret-certificate-is-rotated-without-restart certificate_is_rotated_without_restart

  check key-is-needed key_is_needed
  check secret-api-key-is-rotated-without-restart api_key_is_rotated_without_restart
  check jail-bans-who-guesses-keys guessing_is_banned
  check jail-bans-nobody-else is 200 "$(edge_status /whoami)"

  check store-wants-a-password store_wants_a_password
  check store-refuses-a-wrong-password store_refuses_a_wrong_password
  check store-lets-the-healthcheck-only-ping store_lets_health_only_ping
  check store-lets-the-service-only-its-keys store_lets_the_service_only_its_keys
  check store-grants-what-is-needed store_grants_what_is_needed
  check store-password-is-rotated store_password_is_rotated

  check shared-quota-is-set thirty_an_hour ''
  check shared-limit-is-one-for-both-instances thirty_of_sixty_pass shared
  check shared-ban-holds-on-both-instances ban_holds_on_both
  check shared-ban-outlives-both-instances ban_outlives_both_instances
  check shared-store-is-seen-up eventually 30 store_is_up_for 2
  check shared-store-away-lets-nobody-wait store_goes_away
  check shared-store-away-is-told each_tells limiter_store_failed
  check shared-store-away-each-counts-its-half thirty_of_sixty_pass halves
  check shared-store-away-is-an-alert eventually 60 alert_fires_for SharedStoreAway 2
  check shared-store-comes-back store_comes_back
  check shared-store-back-ends-the-alert eventually 60 alert_fires_for SharedStoreAway 0
  check shared-limit-is-one-again thirty_of_sixty_pass again
  # Each for itself, they let twice as much pass.
  thirty_an_hour ', API__REDIS__URL: ' || true
  check control-shared-limit refuses thirty_of_sixty_pass apart
  no_settings
  check shared-settings-are-put-back recreate_instances

  check stack-survives-the-stop-of-one-instance stopping_one_is_survived
  check stack-rolling-restart-loses-no-request answers_all 200 replace_one_after_the_other
  check control-rolling-restart refuses answers_all 100 replace_both_at_once

  check misconfigured-certificate-fails-visibly broken_certificate_fails_visibly
  # Last, when everything has logged what it has to say.
  check secret-is-in-no-log no_secret_in_logs
}
