#!/bin/sh
# Looks up the digest of each tag that compose.yaml, region.yaml and the Dockerfile name, and writes it beside the tag. To move
# on: change a tag, run this, commit these files. Needs docker and the registries.
set -eu
cd "$(dirname "$0")"
command -v docker >/dev/null || { echo "pin_images: docker is not installed here" >&2; exit 4; }
edits=$(mktemp)
trap 'rm -f "$edits"' EXIT
grep -hoE '[a-z][a-z/-]*:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}' compose.yaml region.yaml Dockerfile | sort -u | while read -r image; do
  tag=${image%@*}
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag" </dev/null) || {
    echo "pin_images: $tag could not be looked up; nothing is changed" >&2; exit 4; }
  echo "s|$image|$tag@$digest|"
done >"$edits"
for file in compose.yaml region.yaml Dockerfile; do
  sed -f "$edits" "$file" >"$file.arriving"
  mv "$file.arriving" "$file"
done
cat "$edits"
