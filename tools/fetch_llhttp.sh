#!/bin/sh
# Unpacks llhttp's sources from Debian's package node-llhttp into build/llhttp, for the differential tests and
# the benchmark of the parser. Nothing is installed and no rights are needed. Does nothing if they are there.
set -eu
cd "$(dirname "$0")/.."
[ ! -f build/llhttp/usr/share/llhttp/llhttp.c ] || exit 0
mkdir -p build/llhttp
cd build/llhttp
apt-get -qq download node-llhttp 2>/dev/null || {
    echo "saola: apt-get cannot download node-llhttp. Type: sudo apt-get update" >&2
    exit 1
}
dpkg-deb -x node-llhttp_*.deb .
