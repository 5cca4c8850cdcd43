#!/bin/sh
# Everything that `make test` runs, after tools/setup.sh.
#
#   tools/test.sh all [pytest arguments]    every test; closes with the counts
#   tools/test.sh check                     include table, stale files, formatting, warnings as errors
#   tools/test.sh long [pytest arguments]   process-level tests that take minutes or assert times
#   tools/test.sh faults [pytest arguments] process-level tests that inject faults, and a table of verdicts
#   tools/test.sh asan [pytest arguments]   process-level tests with the C parts under ASan and UBSan
#   tools/test.sh fuzz SECONDS              each fuzz target for so long
#   tools/test.sh simulate SEQUENCES        the arbiter's decisions in the simulator, on every processor
#   tools/test.sh pythons [pytest arguments]  process-level tests under every other CPython found
#   tools/test.sh parser [SECONDS]          our parser's time per head beside llhttp's, by gcc and by clang
#   tools/test.sh differential [arguments]  our parser against llhttp and h11 on 100,000 requests
#
# On a terminal one sees what runs; elsewhere only results. Full output of each step: build/logs.
set -eu
cd "$(dirname "$0")/.."
what=${1:?all, check, long, faults, asan, fuzz, simulate, pythons, parser or differential}
shift
PATH="$PWD/.venv/bin:$PATH"
export PATH
jobs=${JOBS:-$(nproc)}
mkdir -p build/logs
summary=
failed=

progress() {
    if [ -t 1 ]; then echo "== $*"; fi
}

# What a log of many programs says of failures: the last lines may be of one that passed.
findings() {
    grep -nE '(^|[^0-9A-Za-z])(FAILED|FAIL|TIMEOUT|ERROR|SUMMARY:|runtime error:|fatal error:|error:)' "$1" | head -n 20 || true
}

# step NAME COMMAND...: output to a log, its findings and its end on the terminal when the command fails.
step() {
    title=$(echo "$1" | tr / -)
    shift
    progress "$title"
    if ! "$@" >"build/logs/$title.log" 2>&1; then
        echo "FAILED: $title (build/logs/$title.log)"
        findings "build/logs/$title.log"
        echo "its end:"
        tail -n 40 "build/logs/$title.log"
        failed="$failed $title"
        return 1
    fi
}

count() {
    summary="$summary
  $1"
}

# aside COMMAND...: runs it beside what follows, until join, which takes in its verdict and counts.
asides=0
mkdir -p build/aside
aside() {
    asides=$((asides + 1))
    (
        summary=
        failed=
        "$@"
        printf '%s' "$summary" >"build/aside/$asides.summary"
        printf '%s' "$failed" >"build/aside/$asides.failed"
    ) &
}

# A step that ended the shell has left no verdict.
join() {
    wait
    i=0
    while [ $i -lt $asides ]; do
        i=$((i + 1))
        summary="$summary$(cat "build/aside/$i.summary" 2>/dev/null)"
        failed="$failed$(cat "build/aside/$i.failed" 2>/dev/null || echo " aside-$i")"
        rm -f "build/aside/$i.summary" "build/aside/$i.failed"
    done
    asides=0
}

# ---- C ---------------------------------------------------------------------------------------------

# build NAME COMPILER MESON-OPTION...: makes build/NAME.
build() {
    name=$1
    compiler=$2
    shift 2
    if [ -f "build/$name/build.ninja" ]; then
        step "build-$name" ninja -C "build/$name" -j"$jobs"
    else
        rm -rf "build/$name"
        step "setup-$name" env CC="$compiler" meson setup "build/$name" "$@" && step "build-$name" ninja -C "build/$name" -j"$jobs"
    fi
}

sanitized="-Db_sanitize=address,undefined -Db_lundef=false"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}"

# One build's tests at a time, several programs at once: most wait for something.
meson_test() {
    flock build/units.lock meson test --no-rebuild -v --num-processes $((jobs * 2)) --timeout-multiplier 3 "$@"
}

unit_tests() {
    name=$1
    step "unit-$name" meson_test -C "build/$name" || return 0
    programs=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "build/logs/unit-$name.log")
    tests=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "build/logs/unit-$name.log" |
        awk '{n += $1} END {print n + 0}')
    count "C unit tests, $name: $tests passed in ${programs:-0} programs"
}

c_tests() {
    # The tests of a build run beside the next one.
    if build gcc gcc -Dpython=disabled -Dtests=true; then
        step symbols tools/check_includes.py build/gcc/libsaola_core.a || true
        aside unit_tests gcc
    fi
    # shellcheck disable=SC2086 # a list of options
    if build gcc-asan gcc -Dpython=disabled -Dtests=true $sanitized; then aside unit_tests gcc-asan; fi
    if build clang clang -Dpython=disabled -Dtests=true; then aside unit_tests clang; fi
    if build gcc-tsan gcc -Dpython=disabled -Dtests=true -Db_sanitize=thread -Db_lundef=false; then
        aside thread_tests
    fi
    fuzz_replay
    join
}

# It wants memory where it expects it, hence setarch.
thread_test() {
    flock build/units.lock setarch -R meson test -C build/gcc-tsan --no-rebuild -v --num-processes $((jobs * 2)) \
        --timeout-multiplier 3 "$@"
}

# The programs that start threads, under TSan.
thread_tests() {
    threaded="host_c/loop http/access_log http/drain http/engine http/pool
        examples/hello examples/kv examples/upload examples/chat examples/echo_worker"
    # shellcheck disable=SC2086
    step unit-gcc-tsan thread_test $threaded || return 0
    tests=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' build/logs/unit-gcc-tsan.log | awk '{n += $1} END {print n + 0}')
    count "C unit tests with threads, gcc-tsan: $tests passed"
}

# ---- fuzz targets: tests/fuzz/fuzz_X.c with the inputs tests/fuzz/corpus/X ----------------------------

fuzz_targets() {
    find build/fuzz/tests/fuzz -maxdepth 1 -type f -perm -u+x -name 'fuzz*' 2>/dev/null | sort
}

fuzz_replay() {
    build fuzz clang -Dpython=disabled -Dfuzzers=true || return 0
    for program in $(fuzz_targets); do
        target=$(basename "$program" | sed 's/^fuzz[-_]//')
        corpus=tests/fuzz/corpus/$target
        if [ ! -d "$corpus" ]; then
            echo "FAILED: $corpus is missing: every fuzz target has inputs to replay"
            failed="$failed $target"
        elif step "fuzz-$target" "$program" -runs=0 "$corpus"; then
            count "fuzz corpus $target: $(find "$corpus" -type f | wc -l) inputs replayed"
        fi
    done
}

# Each target for some seconds, as many at once as JOBS; the output of each in build/logs. Those that stand
# between a stranger, or an application, and everything else get four times as long.
fuzz_longer="chunked config head proxy response"
fuzz_briefly() {
    [ -x build/fuzz/tests/fuzz/fuzz_head ] || return 0
    progress "fuzz targets, $1 and $(($1 * 4)) s each"
    for target in $fuzz_longer; do echo "$target"; done >build/fuzz-targets
    for program in $(fuzz_targets); do basename "$program" | sed 's/^fuzz[-_]//'; done |
        grep -vxFf build/fuzz-targets >build/fuzz-others || true
    cat build/fuzz-others >>build/fuzz-targets
    # shellcheck disable=SC2016 # the inner shell's
    xargs -P "$jobs" -I{} sh -c '
        mkdir -p "build/corpus/$1"
        seconds=$2
        case " $3 " in *" $1 "*) seconds=$(($2 * 4)) ;; esac
        "build/fuzz/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -artifact_prefix="build/corpus/$1-" \
            "build/corpus/$1" "tests/fuzz/corpus/$1" >"build/logs/fuzz-run-$1.log" 2>&1 && echo "$1"' \
        fuzz {} "$1" "$fuzz_longer" <build/fuzz-targets >build/fuzz-passed || true
    while read -r target; do
        if ! grep -qx "$target" build/fuzz-passed; then
            echo "FAILED: fuzz target $target (build/logs/fuzz-run-$target.log, input in build/corpus)"
            tail -n 20 "build/logs/fuzz-run-$target.log"
            failed="$failed fuzz-$target"
        fi
    done <build/fuzz-targets
    count "fuzz targets: $(grep -c . build/fuzz-passed || true) ran without a finding ($fuzz_longer: $(($1 * 4)) s each, others $1 s)"
}

fuzz_run() {
    build fuzz clang -Dpython=disabled -Dfuzzers=true || return 0
    for program in $(fuzz_targets); do
        target=$(basename "$program" | sed 's/^fuzz[-_]//')
        mkdir -p "build/corpus/$target"
        echo "== $target, $1 s"
        "$program" -max_total_time="$1" -print_final_stats=1 -artifact_prefix="build/corpus/$target-" \
            "build/corpus/$target" "tests/fuzz/corpus/$target" || failed="$failed $target"
    done
}

# ---- simulator -----------------------------------------------------------------------------------------

# simulate SEQUENCES: as many processes as JOBS, a range of seeds each. Seeds go on where the test of
# every day ends.
simulate() {
    build gcc gcc -Dpython=disabled -Dtests=true || return 0
    share=$(($1 / jobs))
    pids=
    i=0
    while [ $i -lt "$jobs" ]; do
        from=$((100001 + i * share))
        build/gcc/tests/unit/proc/proc-plan-sim $from $((from + share - 1)) >"build/logs/simulate-$i.log" &
        pids="$pids $!"
        i=$((i + 1))
    done
    for pid in $pids; do wait "$pid" || failed="$failed simulate"; done
    count "$(cat build/logs/simulate-[0-9]*.log)"
}

# ---- differential tests: docs/http.md ------------------------------------------------------------------

# Without Debian's node-llhttp only h11 is asked; the count says so.
differential() {
    build gcc gcc -Dpython=disabled -Dtests=true || return 0
    if tools/fetch_llhttp.sh >build/logs/llhttp.log 2>&1 && [ ! -x build/gcc/tests/differential/verdict_llhttp ]; then
        meson configure build/gcc -Dllhttp="$PWD/build/llhttp/usr"
        build gcc gcc || return 0
    fi
    step differential python tests/differential/differential.py --build build/gcc/tests/differential "$@" || return 0
    count "differential: $(tail -n 1 build/logs/differential.log)"
}

# ---- time per head: bench/parse_head.c --------------------------------------------------------------

# llhttp with the flags that make it fastest (meson.build), we with those of every build.
parser_times() {
    llhttp=
    if tools/fetch_llhttp.sh >build/logs/llhttp.log 2>&1; then llhttp=-Dllhttp=$PWD/build/llhttp/usr; fi
    for compiler in gcc clang; do
        command -v $compiler >/dev/null || continue
        # shellcheck disable=SC2086 # none or one
        build "bench/$compiler" $compiler -Dpython=disabled -Dbench=true $llhttp || return 0
        echo "request heads, $compiler"
        "build/bench/$compiler/bench/parse_head" "$1"
    done
}

# ---- Python ------------------------------------------------------------------------------------------

# The tests mostly wait for processes: more at once than there are processors.
e2e_jobs=$((jobs * 3))

# run_pytest LOG ARGUMENTS...: its output both in the log and on the terminal.
run_pytest() {
    log=$1
    shift
    if [ -t 1 ]; then
        { python -m pytest --color=yes "$@" || echo "pytest exit $?"; } 2>&1 | tee "$log"
    else
        { python -m pytest -q --tb=short "$@" || echo "pytest exit $?"; } >"$log" 2>&1
    fi
    ! grep -q '^pytest exit' "$log"
}

# The last line of a log of pytest: how many passed and failed.
verdict() {
    sed 's/\x1b\[[0-9;]*m//g; s/^=* *//; s/ *=*$//' "$1" | grep -E '(passed|failed|error)' | tail -n 1
}

e2e_failed() {
    [ -t 1 ] || tail -n 60 "$1"
    echo "FAILED: e2e ($1)"
    failed="$failed e2e"
}

e2e_tests() {
    progress e2e
    run_pytest build/logs/e2e.log -n $e2e_jobs -p no:cacheprovider "$@" || e2e_failed build/logs/e2e.log
    count "process-level tests: $(verdict build/logs/e2e.log)"
}

# The same for the run of every day, which shares the machine with whatever else it does: one or two
# tests that failed run once more, alone. Those that pass then are named in the summary, as unsteady,
# so that they get mended; more than two, or one that fails alone too, is a failure.
e2e_tests_steadied() {
    progress e2e
    rm -rf build/pytest
    if ! run_pytest build/logs/e2e.log -n $e2e_jobs --dist worksteal -o cache_dir=build/pytest "$@"; then
        python - >build/logs/unsteady.txt <<'END'
import json, pathlib
file = pathlib.Path("build/pytest/v/cache/lastfailed")
print("\n".join(json.loads(file.read_text()) if file.exists() else []))
END
        number=$(grep -c . build/logs/unsteady.txt || true)
        if [ "$number" -lt 1 ] || [ "$number" -gt 2 ]; then
            e2e_failed build/logs/e2e.log
        elif ! run_pytest build/logs/e2e-again.log -o cache_dir=build/pytest --last-failed "$@"; then
            e2e_failed build/logs/e2e-again.log
        else
            while read -r test; do count "UNSTEADY, failed and then passed alone: $test"; done <build/logs/unsteady.txt
        fi
    fi
    count "process-level tests: $(verdict build/logs/e2e.log)"
}

# A test in two runs at once would disturb what it measures: one after the other.
fault_tests() {
    rm -f build/faults.xml
    e2e_jobs=1
    e2e_tests -m fault -o junit_family=xunit1 --junitxml=build/faults.xml "$@"
    [ -f build/faults.xml ] || return 0
    python tools/generate_faults.py --results build/faults.xml >build/faults.txt || failed="$failed rows"
    cat build/faults.txt
}

asan_tests() {
    # shellcheck disable=SC2086
    build asan gcc -Dpython=enabled $sanitized || return 0
    rm -rf build/asan-root
    step asan-install meson install -C build/asan --no-rebuild --destdir "$PWD/build/asan-root" || return 0
    site=$(dirname "$(find "$PWD/build/asan-root" -type d -name saola -path '*-packages/*' | head -n 1)")
    SAOLA_TEST_SITE=$site SAOLA_TEST_PRELOAD=$(gcc -print-file-name=libasan.so) e2e_tests "$@"
}

# other_pythons --other|--brief PYTEST-ARGUMENTS...: the tests under the CPythons that find_pythons.py
# finds with that option.
other_pythons() {
    if ! tools/find_pythons.py "$1" >build/pythons.txt; then
        failed="$failed find_pythons"
        return 0
    fi
    shift
    [ -s build/pythons.txt ] || count "other CPythons: none found on PATH or under pyenv"
    while read -r version program; do
        if [ "$*" = smoke ]; then
            aside python_tests "$version" "$program" smoke
        else
            python_tests "$version" "$program" "$@"
        fi
    done <build/pythons.txt
    join
}

# Some seconds each, all Pythons at once: requests, signals, exit codes, the package, tasks and contexts of asyncio;
# what leaks, a debug build tells best.
smoke_tests() {
    e2e_jobs=$jobs
    [ -n "$*" ] || other_pythons --brief smoke
}

python_tests() {
    name=python-$1
    venv=build/pythons/$1
    extra=test
    [ "${3:-}" != smoke ] || extra=smoke
    step "setup-$name" env VENV="$venv" PYTHON="$2" tools/setup.sh $extra </dev/null || return 0
    # What the page shows wants frameworks.
    async="tests/e2e/test_asgi.py --deselect tests/e2e/test_asgi.py::test_the_commands_of_the_page"
    # shellcheck disable=SC2086 # several words
    case $1,${3:-} in
    *d,smoke) set -- tests/e2e/test_wsgi.py tests/e2e/test_leaks.py $async ;;
    *,smoke) set -- tests/e2e/test_package.py tests/e2e/test_wsgi.py tests/e2e/test_signals.py $async ;;
    *) shift 2 ;;
    esac
    step "$name" "$venv/bin/python" -m pytest -n $e2e_jobs -q --tb=short -p no:cacheprovider "$@" \
        </dev/null || true
    count "$name: $(sed 's/^=* *//; s/ *=*$//' "build/logs/$name.log" |
        grep -E '(passed|failed|error)' | tail -n 1)"
}

# ---- check -------------------------------------------------------------------------------------------

formatting() {
    find src include tests -name '*.[ch]' | xargs clang-format --dry-run --Werror
}

stale_files() {
    for tool in tools/generate_*.py; do
        [ -e "$tool" ] || continue
        python "$tool" --check
    done
}

finish() {
    if [ -n "$failed" ]; then
        echo "FAILED:$failed$summary"
        exit 1
    fi
    echo "OK$summary"
}

case $what in
all)
    if step include-table tools/check_includes.py; then count "include table: kept"; fi
    step generated-files stale_files || true
    c_tests
    differential --count 5000
    fuzz_briefly "${FUZZ_BRIEFLY:-5}"
    e2e_tests_steadied "$@"
    smoke_tests "$@"
    ;;
smoke) smoke_tests ;;
pythons) other_pythons --other "$@" ;;
check)
    step include-table tools/check_includes.py || true
    step generated-files stale_files || true
    step formatting formatting || true
    if build check-gcc gcc -Dwerror=true -Dtests=true; then
        step symbols tools/check_includes.py build/check-gcc/libsaola_core.a || true
    fi
    build check-clang clang -Dwerror=true -Dtests=true || true
    ;;
long) e2e_jobs=1 && e2e_tests -m long "$@" ;;
faults) fault_tests "$@" ;;
asan) asan_tests "$@" ;;
fuzz) fuzz_run "$@" ;;
simulate) rm -f build/logs/simulate-* && simulate "$@" ;;
parser) parser_times "${1:-1}" ;;
differential) differential "$@" ;;
*)
    echo "tools/test.sh: $what: not one of all, check, long, faults, asan, fuzz, simulate, pythons, parser, differential" >&2
    exit 2
    ;;
esac
finish
