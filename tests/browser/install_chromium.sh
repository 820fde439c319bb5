#!/bin/sh
# Puts a browser for tests/browser on this machine: Debian's package `chromium`, and the typeface the
# console asks for first, so that screenshots look alike everywhere. Needs apt and the right to use it.
set -eu
command -v chromium >/dev/null && exit 0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 install \
    --no-install-recommends chromium fonts-inter >"$log" 2>&1
}
install && exit 0
apt-get -q -o Acquire::Retries=3 update >"$log" 2>&1 && install || { tail -5 "$log" >&2; exit 4; }
