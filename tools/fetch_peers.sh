#!/bin/sh
# Unpacks Debian's nginx and haproxy into build/ledger/peers and installs gunicorn into build/ledger/venv, to
# compare with. Nothing is installed in the system, no service is started. Does nothing if they are there.
set -eu
cd "$(dirname "$0")/.."
peers=build/ledger/peers
if [ ! -x $peers/usr/sbin/nginx ] || [ ! -x $peers/usr/sbin/haproxy ]; then
    mkdir -p $peers/deb
    # haproxy with what of its libraries a Debian without it may lack.
    (cd $peers/deb && apt-get -qq download nginx haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 \
        2>/dev/null) || {
        echo "saola: apt-get cannot download nginx and haproxy. Type: sudo apt-get update" >&2
        exit 1
    }
    for package in $peers/deb/*.deb; do dpkg-deb -x "$package" $peers; done
fi
if [ ! -x build/ledger/venv/bin/gunicorn ]; then
    .venv/bin/python -m venv build/ledger/venv
    build/ledger/venv/bin/pip --disable-pip-version-check install -q gunicorn==26.1.0
fi
