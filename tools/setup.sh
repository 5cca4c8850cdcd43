#!/bin/sh
# Installs what a target of the Makefile needs: Debian packages, .venv, saola in .venv.
#
#   tools/setup.sh venv|smoke|test|check|bench|fuzz
#
# VENV=directory and PYTHON=program: another virtual environment than .venv, made with that Python.
#
# Quick when there is nothing to do. A tool that is missing and may not be installed from here ends in
# one line that says what to type.
set -eu
cd "$(dirname "$0")/.."
target=${1:?what for: venv, smoke, test, check, bench or fuzz}
venv=${VENV:-.venv}
# Kept between two builds.
case $venv in
.venv)
    builddir=build/venv
    log=build/setup.log
    ;;
*)
    builddir=$venv/build
    log=build/setup-$(basename "$venv").log
    ;;
esac

die() {
    echo "saola: $*" >&2
    exit 1
}

say() {
    if [ -t 2 ]; then echo "saola: $*" >&2; fi
}

# Runs a command with its output in a log; shows the end of the log only if the command fails.
quietly() {
    mkdir -p build
    if [ -t 2 ] && [ -n "${V:-}" ]; then
        "$@"
    elif ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "failed: $* (the whole output is in $log)"
    fi
}

# ---- Debian packages -----------------------------------------------------------------------------

have() {
    command -v "$1" >/dev/null 2>&1
}

find_python() {
    for python in ${PYTHON:-/usr/bin/python3 python3}; do
        if have "$python" && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

has_header() {
    echo "#include <$1>" | cc -E - >/dev/null 2>&1
}

has_clang_runtime() {
    echo 'int main(void){return 0;}' | clang -x c -fsanitize=address - -o /dev/null >/dev/null 2>&1
}

# Prints the Debian packages that are missing for the target.
missing_packages() {
    if ! have cc || ! has_header stdio.h; then echo gcc libc6-dev; fi
    have pkg-config || echo pkg-config
    has_header zlib.h 2>/dev/null || echo zlib1g-dev # WebSocket's compression
    if python=$(find_python); then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
        "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
            echo python3-dev
    else
        echo python3 python3-venv python3-dev
    fi
    case $target in
    test | check | fuzz)
        has_header cmocka.h 2>/dev/null || have_cmocka || echo libcmocka-dev
        have clang || echo clang
        if ! have clang || ! has_clang_runtime; then echo libclang-rt-14-dev; fi
        ;;
    esac
    case $target in
    smoke | test)
        have curl || echo curl
        have strace || echo strace # faults: tests/e2e/test_faults.py
        ;;
    check) have clang-format || echo clang-format ;;
    bench)
        have wrk || echo wrk
        [ -e /usr/include/ev.h ] || echo libev-dev # bjoern builds against it
        ;;
    esac
}

# cmocka.h needs other headers before it, so it is asked for by name.
have_cmocka() {
    have pkg-config && pkg-config --exists cmocka
}

install_packages() {
    packages=$(missing_packages | tr '\n' ' ')
    packages=${packages% }
    [ -n "$packages" ] || return 0
    have apt-get || die "missing: $packages (Debian's names). Install them and try again."
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root="sudo -n"
        sudo -n true 2>/dev/null || die "packages are missing. Type: sudo apt-get install $packages"
    fi
    say "installing $packages"
    # shellcheck disable=SC2086 # both are lists of words
    if ! quietly_try $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $packages; then
        quietly $as_root apt-get update
        quietly $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $packages
    fi
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] || die "still missing after apt-get install: $packages"
}

quietly_try() {
    mkdir -p build
    "$@" >"$log" 2>&1
}

# ---- .venv -----------------------------------------------------------------------------------------

make_venv() {
    python=$(find_python) || die "Python 3.10 or newer is needed. Type: sudo apt-get install python3"
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        say "making $venv with $python"
        rm -rf "$venv"
        quietly "$python" -m venv "$venv"
    fi
    # The build tools live in the environment so that the build directory can be kept between two builds.
    if ! "$venv/bin/python" -c 'import mesonpy' 2>/dev/null || [ ! -x "$venv/bin/ninja" ]; then
        say "installing the build tools"
        quietly "$venv/bin/pip" --disable-pip-version-check install \
            'meson-python>=0.16' 'meson>=1.1' ninja
    fi
}

# Everything that goes into the package; its list and times tell whether to build again.
sources() {
    find meson.build meson_options.txt pyproject.toml include src python \
        -type f ! -name '*.pyc' | LC_ALL=C sort
}

# Installs saola with the extra $1 ("", "[smoke]" or "[test]"), unless that is done already.
install_saola() {
    stamp=$venv/.saola$1
    list=$venv/.sources
    sources >"$list"
    if cmp -s "$list" "$stamp" 2>/dev/null &&
        [ -z "$(xargs -a "$list" sh -c 'find "$@" -newer "$0"' "$stamp")" ]; then
        return 0
    fi
    say "building saola"
    quietly env PATH="$(cd "$venv/bin" && pwd):$PATH" "$venv/bin/pip" --disable-pip-version-check install \
        --no-build-isolation --config-settings "builddir=$builddir" \
        --config-settings "compile-args=-j${JOBS:-$(nproc)}" ".$1"
    # With the time of the list: what was edited during the build is newer.
    cp -p "$list" "$venv/.saola"
    cp -p "$list" "$stamp"
}

install_packages
mkdir -p build
make_venv
case $target in
venv | check | fuzz) install_saola "" ;;
smoke | test) install_saola "[$target]" ;;
bench)
    install_saola ""
    # The application that saola serves in the row "saola aiohttp".
    "$venv/bin/python" -c 'import aiohttp' 2>/dev/null ||
        quietly "$venv/bin/pip" --disable-pip-version-check install aiohttp
    ;;
esac
