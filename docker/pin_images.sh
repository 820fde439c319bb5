#!/bin/sh
# Writes the digest of every image that compose.yaml and the Dockerfile name into docker/.env, which Compose
# reads: from then on the same bytes are started, whatever a tag is moved to. Needs docker and the
# registries; run it again to move on, and commit the file.
set -eu
cd "$(dirname "$0")"
command -v docker >/dev/null || { echo "pin_images: docker is not installed here" >&2; exit 4; }
sed -n 's/.*image: "\{0,1\}\${\([A-Z_]*\):-\([^}]*\)}.*/\1 \2/p; s/^ARG \(PYTHON_IMAGE\)=\(.*\)/\1 \2/p' \
  compose.yaml Dockerfile | sort -u | while read -r name image; do
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image") || {
    echo "pin_images: $image could not be looked up; .env is as it was" >&2; exit 4; }
  echo "$name=$image@$digest"
done >.env.arriving
mv .env.arriving .env
cat .env
