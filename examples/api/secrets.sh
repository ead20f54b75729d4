#!/usr/bin/env bash
# Makes what the stack of compose.yaml keeps secret, in the folder `secrets` beside this file; what is there already stays.
#
#   ./secrets.sh                    a self-signed certificate for localhost and PALISADE_HOST, an API key, a password for the store, and the
#                                   key under which clients are known there
#   ./secrets.sh --rotate api_key   a new API key; the one before goes on until the next rotation
#   ./secrets.sh --rotate redis     a new password for the store; the one before goes on until the next rotation
#                                   (then: docker compose restart redis, and after that api-1 and api-2)
#   ./secrets.sh --rotate redis_hash_key   a new key for the clients' names: all limits begin anew (then: docker compose restart api-1 api-2)
#   ./secrets.sh --rotate tls       a new certificate (then: docker compose exec nginx nginx -s reload)
#
# Compose mounts these files with the owner and mode they have here, and the services run as different users: so the
# folder is closed to everybody but you, and the files in it can be read by whoever is let into the folder.
set -euo pipefail

dir=${PALISADE_SECRETS:-$(cd "$(dirname "$0")" && pwd)/secrets}
host=${PALISADE_HOST:-api.example.com}

fail() {
  echo "secrets.sh: $*" >&2
  exit 2
}

# Writes standard input to a secret. The file stays the same one, because a running container has that very file mounted.
put() {
  local file=$dir/$1
  [ ! -e "$file" ] || chmod 0644 "$file"
  cat >"$file"
  chmod 0444 "$file"
}

random() {
  openssl rand -hex 32
}

tls() {
  local tmp
  tmp=$(mktemp -d)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -sha256 \
    -keyout "$tmp/key" -out "$tmp/crt" -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host,DNS:localhost" -addext "basicConstraints=critical,CA:FALSE" \
    -addext "extendedKeyUsage=serverAuth" 2>/dev/null
  put tls.key <"$tmp/key"
  put tls.crt <"$tmp/crt"
  rm -r "$tmp"
}

# The store gets the hashes of the present password and of the one before, the service the password. What the user may do is what palisade
# calls, and no more: the scripts of its limits and bans, and the channel that tells of bans.
redis() {
  local password hash before=''
  [ ! -e "$dir/redis_users.acl" ] || before=$(sed --quiet 's/^user palisade on \(#[0-9a-f]*\).*/ \1/p' "$dir/redis_users.acl")
  password=$(random)
  hash=$(printf %s "$password" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
  printf %s "$password" | put redis_password
  put redis_users.acl <<EOF
user default off
user health on nopass resetchannels -@all +ping
user palisade on #$hash$before ~palisade:* resetchannels &palisade:* -@all +eval +evalsha +time +get +set +del +hdel +hexists +hget +hincrby +hlen +hset +zadd +zrangebyscore +zrem +zscore +publish +subscribe
EOF
}

redis_hash_key() {
  random | put redis_hash_key
}

# The service gets the digests of the present key and of the one before; the keys themselves are for the client alone.
api_key() {
  local digest before=''
  [ ! -e "$dir/API_KEYS" ] || before=$(sed --quiet 's/.*"client": "\([^"]*\)".*/, "client-before": "\1"/p' "$dir/API_KEYS")
  printf 'api_%s' "$(random)" | put api_key
  digest=$(openssl dgst -sha256 -r <"$dir/api_key" | cut -d ' ' -f 1)
  printf '{"client": "sha256:%s"%s}\n' "$digest" "$before" | put API_KEYS
}

grafana() {
  random | put grafana_password
}

command -v openssl >/dev/null || fail "openssl is missing"
umask 077
mkdir -p "$dir"
chmod 0700 "$dir"
case "${1:-}" in
  '')
    [ -e "$dir/tls.key" ] && [ -e "$dir/tls.crt" ] || tls
    [ -e "$dir/redis_password" ] && [ -e "$dir/redis_users.acl" ] || redis
    [ -e "$dir/redis_hash_key" ] || redis_hash_key
    [ -e "$dir/api_key" ] && [ -e "$dir/API_KEYS" ] || api_key
    [ -e "$dir/grafana_password" ] || grafana
    ;;
  --rotate)
    case "${2:-}" in
      api_key | grafana | redis | redis_hash_key | tls) "$2" ;;
      *) fail "--rotate takes one of: api_key, grafana, redis, redis_hash_key, tls" ;;
    esac
    ;;
  *) fail "unknown option $1: allowed is --rotate NAME" ;;
esac
