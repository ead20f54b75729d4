#!/usr/bin/env bash
# Lists the system calls that the image's binary makes: at the start, under requests, when asked for its health, and at the stop.
#
#   ./traced.sh IMAGE [NAME=VALUE..]     one call a line, sorted; NAME=VALUE are settings for the service
#
# Wants root, docker, curl and strace. It traces the program in the image's own root, thus with the image's own C library.
set -euo pipefail

image=${1:?traced.sh: name the image}
shift
settings=(API__SERVER__LISTEN=127.0.0.1:18079 API__LOG__FORMAT=json "$@")
url=http://127.0.0.1:18079

tmp=$(mktemp -d)
container=$(docker create "$image")
trap 'docker rm "$container" >/dev/null; rm -rf "$tmp"' EXIT
mkdir "$tmp/root"
docker export "$container" | tar --extract --directory "$tmp/root" --exclude 'dev/*'


as_in_container=(chroot --userspec=65532:65532 "$tmp/root" /usr/local/bin/api)
request() {
  curl --silent --output /dev/null --output /dev/null --output /dev/null "$@" || true
}

export "${settings[@]}"
strace --follow-forks --quiet=all --output "$tmp/serve" "${as_in_container[@]}" serve >"$tmp/out" 2>&1 &
tracer=$!
for _ in $(seq 100); do
  curl --silent --output /dev/null "$url/healthz" && break
  sleep 0.1
done
strace --follow-forks --quiet=all --output "$tmp/health" "${as_in_container[@]}" healthcheck
for _ in $(seq 10); do
  request --header 'content-type: application/json' --data '{"text":"hello"}' "$url/notes"
  request "$url/notes" "$url/whoami" "$url/none"
done
# More at a time than there are threads, clients that go away, a body that is too large, HTTP/2.
waiting=()
for _ in $(seq 20); do
  request "$url/slow" &
  waiting+=($!)
done
request --max-time 0.1 "$url/slow"
head --bytes 100000 /dev/zero | request --data-binary @- "$url/notes"
request --http2-prior-knowledge "$url/notes" "$url/whoami"
kill -TERM "$(pgrep --parent "$tracer")"
wait "${waiting[@]}" || true
wait "$tracer"

# Everything before the program itself is started is chroot's.
for log in serve health; do
  sed --quiet '/execve("\/usr\/local\/bin\/api"/,$p' "$tmp/$log"
done | grep --only-matching --perl-regexp '^\d+ +(<\.\.\. )?\K[a-z_0-9]+(?=\(| resumed)' | sort --unique
