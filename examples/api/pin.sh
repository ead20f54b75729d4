#!/usr/bin/env bash
# Adds to every image that the Dockerfile and compose.yaml name the digest that its tag has today; `--unpin` takes it away again.
#
#   ./pin.sh          FROM rust:1.95-slim-trixie  ->  FROM rust:1.95-slim-trixie@sha256:..
#
# By hand, one line an image:  docker buildx imagetools inspect IMAGE --format '{{.Manifest.Digest}}'
set -euo pipefail
cd "$(dirname "$0")"
files=(Dockerfile compose.yaml)

sed --in-place --regexp-extended 's/^(FROM|    image:) ([^ @]+)@sha256:[0-9a-f]+/\1 \2/' "${files[@]}"
case "${1:-}" in
  --unpin) exit ;;
  '') ;;
  *) echo "pin.sh: unknown option $1: allowed is --unpin" >&2; exit 2 ;;
esac

# `FROM tools` names a stage, and `${..}` the image of this project.
images=$(sed --quiet --regexp-extended 's/^(FROM|    image:) ([^ $]+[:/][^ ]+).*/\2/p' "${files[@]}" | sort --unique)
for image in $images; do
  digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}') ||
    { echo "pin.sh: $image: the registry tells no digest" >&2; exit 1; }
  sed --in-place --regexp-extended "s#^(FROM|    image:) $image( |\$)#\1 $image@$digest\2#" "${files[@]}"
  echo "$image@$digest"
done
