#!/bin/sh
# Unpacks Debian's nginx, haproxy and libmicrohttpd into build/ledger/peers and installs gunicorn into
# build/ledger/venv, to compare with. Nothing is installed in the system, no service is started. Does
# nothing if they are there.
set -eu
cd "$(dirname "$0")/.."
peers=build/ledger/peers

# unpack PACKAGE...: downloads and unpacks.
unpack() {
    rm -rf $peers/deb
    mkdir -p $peers/deb
    (cd $peers/deb && apt-get -qq download "$@" 2>/dev/null) || {
        echo "saola: apt-get cannot download $*. Type: sudo apt-get update" >&2
        exit 1
    }
    for package in $peers/deb/*.deb; do dpkg-deb -x "$package" $peers; done
}

if [ ! -x $peers/usr/sbin/nginx ] || [ ! -x $peers/usr/sbin/haproxy ]; then
    # haproxy with what of its libraries a Debian without it may lack.
    unpack nginx haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
fi
if [ ! -e $peers/usr/include/microhttpd.h ]; then
    unpack libmicrohttpd-dev libmicrohttpd12
fi
if [ ! -x build/ledger/venv/bin/gunicorn ]; then
    .venv/bin/python -m venv build/ledger/venv
    build/ledger/venv/bin/pip --disable-pip-version-check install -q gunicorn==26.1.0
fi
