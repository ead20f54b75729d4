# shellcheck shell=bash disable=SC2154,SC2034
# Builds the image as a stranger would: from what is committed or about to be, and from nothing else. Sourced by run.sh.

# What git knows of, and new files that it does not ignore.
clean_context() {
  mkdir -p "$1"
  git -C "$root" ls-files --cached --others --exclude-standard -z |
    while IFS= read -r -d '' file; do [ ! -e "$root/$file" ] || printf '%s\0' "$file"; done |
    tar --create --directory "$root" --null --files-from - | tar --extract --directory "$1"
}

# Where registries can only be reached from the machine's own network, a build has to use that.
build_image() {
  DOCKER_BUILDKIT=1 docker build --network host --progress plain --file "$1/examples/api/Dockerfile" --tag "$image" \
    --build-arg VERSION=0.0.0 --build-arg REVISION="$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" "$1" >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log"; return 1; }
}

# In kB: what the builder was sent, where an unfiltered tree with its target folder would be gigabytes.
context_is_below() {
  local sent
  sent=$(grep --only-matching --perl-regexp 'transferring context: \K[0-9.]+[kMG]?B' "$work/build.log" | tail -n 1)
  sent=$(numfmt --from=si --to-unit=1000 "$(sed 's/B$//; s/k$/K/' <<<"$sent")")
  [ "$sent" -lt "$1" ] || { echo "$sent kB"; return 1; }
}

# A file that .dockerignore does not allow must not reach the builder.
context_leaves_out() {
  local planted=$work/planted
  cp -r "$work/context" "$planted"
  mkdir -p "$planted/examples/api/secrets" "$planted/target/release" "$planted/.git"
  for file in .env examples/api/secrets/redis_password src/server.key target/release/api .git/config; do
    echo planted-where-it-must-not-go >"$planted/$file"
  done
  printf 'FROM nginxinc/nginx-unprivileged:stable-trixie\nCOPY . /context\n' >"$work/Dockerfile.context"
  docker build --quiet --tag palisade-context --file "$work/Dockerfile.context" "$planted" >/dev/null
  local found
  found=$(docker run --rm --network none --entrypoint grep palisade-context --recursive --files-with-matches planted-where-it-must-not-go /context || true)
  docker rmi palisade-context >/dev/null
  empty "$found"
}

# The command for it that the head of the Dockerfile names, with another tag.
builds_without_buildkit() {
  local command
  command=$(sed --quiet 's/^#   \(sed .* docker build .*\)/\1/p' "$example/Dockerfile")
  contains DOCKER_BUILDKIT=0 "$command" || return 1
  command=${command/docker build --tag palisade-example-api/docker build --network host --tag palisade-classic}
  (cd "$work/context" && eval "$command") >"$work/classic.log" 2>&1 || { tail -n 30 "$work/classic.log"; return 1; }
  docker run --rm --read-only --cap-drop ALL --network none palisade-classic --help >/dev/null
}

# ---- digests, with a registry on loopback: what is there is pulled by its digest, what is not is told.
registry=127.0.0.1:18500
registry_up() {
  [ ! -e "$work/registry.pid" ] || return 0
  debian_packages docker-registry:docker-registry || { echo "$cannot"; return 1; }
  mkdir -p "$work/registry"
  printf '{"version": "0.1", "storage": {"filesystem": {"rootdirectory": "%s"}}, "http": {"addr": "%s"}}\n' "$work/registry" "$registry" >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  echo $! >"$work/registry.pid"
  eventually 20 curl --silent --output /dev/null "http://$registry/v2/" || return 1
  docker tag gcr.io/distroless/cc-debian13:nonroot "$registry/base:nonroot" &&
    docker push --quiet "$registry/base:nonroot" >/dev/null
}
registry_down() {
  [ -e "$work/registry.pid" ] || return 0
  kill "$(cat "$work/registry.pid")" 2>/dev/null
  rm -f "$work/registry.pid"
  docker rmi "$registry/base:nonroot" >/dev/null 2>&1
  true
}
digest_of_base() { docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$registry/base:nonroot" | grep --fixed-strings "$registry/base@" | cut -d @ -f 2; }
wrong_digest() { printf 'sha256:%064d' 7; }
# The example's own file, its last base pinned to the digest $1.
builds_pinned() {
  sed "s|^FROM gcr.io/distroless/cc-debian13:nonroot|FROM $registry/base:nonroot@$1|" "$work/context/examples/api/Dockerfile" >"$work/Dockerfile.pinned"
  grep --quiet "@$1" "$work/Dockerfile.pinned" || { echo "the base is not pinned"; return 1; }
  DOCKER_BUILDKIT=1 docker build --network host --progress plain --file "$work/Dockerfile.pinned" --tag palisade-pinned "$work/context" >"$work/pinned.log" 2>&1 ||
    { tail -n 5 "$work/pinned.log"; return 1; }
  docker rmi palisade-pinned >/dev/null
}
wrong_digest_fails_visibly() {
  local output
  output=$(builds_pinned "$(wrong_digest)") && { echo "it was built"; return 1; }
  contains "$registry/base:nonroot@$(wrong_digest): not found" "$(tail -n 1 <<<"$output")"
}

# ---- somebody else's project, which takes the Dockerfile over as the README says
another_project_builds() {
  local other=$work/other changed
  mkdir -p "$other/src"
  printf '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2024"\n' >"$other/Cargo.toml"
  printf 'version = 4\n\n[[package]]\nname = "hello"\nversion = "0.1.0"\n' >"$other/Cargo.lock"
  echo 'fn main() { println!("hello from another project"); }' >"$other/src/main.rs"
  cp "$root/.dockerignore" "$other/"
  sed 's/--package palisade-example-api --examples/--bin hello/
    s/--package palisade-example-api --example api/--bin hello/
    s|target/release/examples/api|target/release/hello|
    s/image.title="palisade-example-api"/image.title="hello"/' "$example/Dockerfile" >"$other/Dockerfile"
  # What was changed is in the three places that are marked, and there are three of them.
  is 3 "$(grep --count '^# yours: ' "$other/Dockerfile")" || return 1
  changed=$(diff "$example/Dockerfile" "$other/Dockerfile" | grep --count '^>')
  is 4 "$changed" || return 1
  DOCKER_BUILDKIT=1 docker build --network host --progress plain --tag palisade-other "$other" >"$work/other.log" 2>&1 || { tail -n 20 "$work/other.log"; return 1; }
  contains 'hello from another project' "$(docker run --rm --read-only --cap-drop ALL --network none palisade-other)" && docker rmi palisade-other >/dev/null
}

# A registry that knows a digest for everything stands in for the real one; what is tested is that nothing is left out.
every_image_is_pinned_and_unpinned() {
  local copy=$work/pin unpinned
  mkdir -p "$copy/bin"
  cp "$example"/{Dockerfile,compose.yaml,pin.sh} "$copy/"
  printf '#!/bin/sh\necho sha256:%s\n' "$(printf %064d 7)" >"$copy/bin/docker"
  chmod +x "$copy/bin/docker"
  PATH=$copy/bin:$PATH "$copy/pin.sh" >/dev/null || return 1
  unpinned=$(grep --extended-regexp '^(FROM|    image:) [^$]' "$copy/Dockerfile" "$copy/compose.yaml" | grep --invert-match --extended-regexp '@sha256:[0-9]{64}( |$)|FROM tools ' || true)
  empty "$unpinned" || return 1
  "$copy/pin.sh" --unpin && cmp "$copy/Dockerfile" "$example/Dockerfile" && cmp "$copy/compose.yaml" "$example/compose.yaml"
}

probe_build() {
  check build-every-image-can-be-pinned every_image_is_pinned_and_unpinned
  clean_context "$work/context"
  check build-from-a-clean-context build_image "$work/context" || return 0
  check build-context-is-small context_is_below 4000
  check build-context-leaves-out-secrets-and-targets context_leaves_out
  check build-without-buildkit builds_without_buildkit
  check build-copied-to-another-project another_project_builds
  if [ "$(id -u)" -ne 0 ] && ! need_command docker-registry; then
    skip build-pinned-to-a-digest "docker-registry is missing, and only root can install it"
    skip build-pinned-to-a-wrong-digest-fails-visibly "docker-registry is missing, and only root can install it"
  else
    check build-registry-is-up registry_up || return 0
    check build-pinned-to-a-digest builds_pinned "$(digest_of_base)"
    check build-pinned-to-a-wrong-digest-fails-visibly wrong_digest_fails_visibly
  fi
}
