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

# The same file without BuildKit.
builds_without_buildkit() {
  sed --regexp-extended 's/--mount=[^ ]+ //' "$work/context/examples/api/Dockerfile" >"$work/Dockerfile.classic"
  cp "$work/Dockerfile.classic" "$work/context/Dockerfile.classic"
  DOCKER_BUILDKIT=0 docker build --network host --quiet --tag palisade-classic --file Dockerfile.classic "$work/context" >/dev/null &&
    docker run --rm --read-only --cap-drop ALL --network none palisade-classic --help >/dev/null
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
  if [ -n "${CONTAINER_CLASSIC:-}" ]; then
    check build-without-buildkit builds_without_buildkit
  else
    skip build-without-buildkit "a second full build; CONTAINER_CLASSIC=1 runs it"
  fi
}
