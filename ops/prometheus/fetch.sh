#!/bin/sh
# Puts a program that comes in no Python package (promtool, prometheus) into the folder given: out of
# Debian's package `prometheus`, downloaded by apt and unpacked there. Installs nothing on the machine.
set -eu
folder=$(cd "$1" && pwd)
program=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
chmod 755 "$scratch"
if ! apt-get -q -o Acquire::Retries=3 download prometheus >apt.log 2>&1; then
  apt-get -q -o Acquire::Retries=3 update >apt.log 2>&1 || { cat apt.log >&2; exit 4; }
  apt-get -q -o Acquire::Retries=3 download prometheus >apt.log 2>&1 || { cat apt.log >&2; exit 4; }
fi
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x "./usr/bin/$program"
touch "usr/bin/$program" # make compares times
mv "usr/bin/$program" "$folder/$program"
