#!/usr/bin/env bash
# Everything that can be checked on a machine with a GPU: the driver itself, the kernels, the library's tests over memory of
# the real driver, the examples, and how fast transfers are beside copies and storage by themselves. Behind `make test-gpu`.
#
#   test-gpu.sh            build, then run
#   test-gpu.sh --build    build into build/test-gpu, for instance to take that folder to a machine without cargo
#   test-gpu.sh --run      run what is in build/test-gpu; needs bash and coreutils
#
#   LIBCUDA=FOLDER            where libcuda.so.1 is, if the loader does not find it
#   TEST_GPU_DIR=FOLDER       on the storage to use (build/test-gpu/data); what is in it afterwards is removed
#   TEST_GPU_PROFILE=PROFILE  of cargo, for the library that examples and benchmark use (release)
#
# It ends with a table. The exit status is 1 if anything failed or there is no GPU. What a real driver cannot be asked for,
# faults and counts of the stand-in, is left out by name.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
out=$PWD/build/test-gpu
data=${TEST_GPU_DIR:-$out/data}
logs=$out/logs
library_path=${LD_LIBRARY_PATH:-}
# The whole has to end within ten minutes, whatever hangs.
SECONDS_MAX=570
TEST_SECONDS_MAX=60
SUITE_SECONDS_MAX=240
PART_SECONDS_MAX=120
# Of each test binary: what of it moves bytes of a device. `each` runs every test in a process of its own, so that an error
# that stays with a CUDA context ends with it.
SUITES=("promise_device_memory each" "promise_device_kernels each" "promise_streams each" "promise_gds all"
    "promise_gds_device each" "conformance all _from_")

fail() { echo "test-gpu: $*" >&2; exit 1; }

# ---- Build ---------------------------------------------------------------------------------------------------------

# The one program that tells whether there is any use in the rest.
build_found() {
    mkdir -p "$out/bin"
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -O1 tests/gpu/{found,driver}.c -o "$out/bin/found" -ldl ||
        fail "a C compiler is needed"
}

build() {
    local cargo=${CARGO:-cargo} cc=${CC:-cc} cxx=${CXX:-c++} profile=${TEST_GPU_PROFILE:-release}
    local flags=(--locked --no-default-features) suite name binary library cufile
    for tool in "$cargo" "$cc" "$cxx" strip; do
        command -v "$tool" >/dev/null || fail "$tool was not found; it is needed to build"
    done
    rm -rf "$out/bin"
    build_found
    # Without OBJ: nothing here needs a bucket, and it builds in a minute.
    "$cargo" build --lib --profile "$profile" "${flags[@]}" || fail "the library does not build"
    library=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")/libnixl_store.so
    strip -o "$out/bin/libnixl_store.so.0" "$library"
    ln -s libnixl_store.so.0 "$out/bin/libnixl_store.so"
    for suite in "${SUITES[@]}"; do
        name=${suite%% *}
        if [ ! -e "tests/$name/main.rs" ] && [ ! -e "tests/$name.rs" ]; then continue; fi
        binary=$("$cargo" test "${flags[@]}" --features fault-injection --test "$name" --no-run 2>&1 |
            tee /dev/stderr | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
        [ -x "$binary" ] || fail "$name does not build"
        strip -o "$out/bin/$name" "$binary"
    done
    set -e
    "$cc" -std=c11 -O1 tests/standin_cuda/self_test/*.c -o "$out/bin/self_test" -pthread -ldl
    local link=(-L"$out/bin" -lnixl_store -ldl -pthread '-Wl,-rpath,$ORIGIN')
    "$cc" -std=c11 -D_GNU_SOURCE -O2 -Iinclude tests/gpu/{bench,driver,kernels,launch,main,storage,streams}.c \
        -o "$out/bin/gpu" "${link[@]}"
    "$cc" -std=c99 -O2 -Iinclude examples-c/cuda_offload.c examples-c/common/{cuda_driver,temp_store}.c \
        -o "$out/bin/cuda_offload" "${link[@]}"
    for name in cuda_driver temp_store; do
        "$cc" -std=c11 -O2 -c "examples-c/common/$name.c" -o "$out/bin/$name.o"
    done
    "$cxx" -std=c++17 -O2 -Iinclude -Iexamples-c examples-c/kv_connector.cpp examples-c/connector/*.cpp \
        examples-c/llama/{block_chain,sha256}.cpp "$out"/bin/{cuda_driver,temp_store}.o \
        -o "$out/bin/kv_connector" "${link[@]}"
    rm "$out"/bin/*.o
    cp src/cuda/kernels/kernels.ptx tests/cuda_kernels/sums.tsv "$out/bin"
    for cufile in .venv/lib/python3*/site-packages/nvidia/cu13/lib/libcufile.so.0; do
        [ ! -e "$cufile" ] || cp "$cufile" "$out/bin"
    done
    set +e
    echo "test-gpu: built $out/bin"
}

# ---- What there is -------------------------------------------------------------------------------------------------

device() {
    # An empty element would be the working directory.
    export LD_LIBRARY_PATH=${LIBCUDA:+$LIBCUDA${library_path:+:}}$library_path
    "$out/bin/found" || fail "there is no GPU to test on; what is missing is said above"
}

rest() {
    # cuFile: the machine's own, else the one that came along. Where nvidia-fs is missing it works in compatibility mode.
    cufile=$(ldconfig -p 2>/dev/null | sed -n 's/^.*libcufile\.so\.0 .*=> //p' | sed -n 1p)
    local candidate
    for candidate in /usr/local/cuda*/lib64/libcufile.so.0 "$out/bin/libcufile.so.0"; do
        [ -n "$cufile" ] || [ ! -e "$candidate" ] || cufile=$candidate
    done
    echo "cuFile: ${cufile:-none}"
    if [ -r /proc/driver/nvidia-fs/version ]; then
        echo "nvidia-fs: $(head -n 1 /proc/driver/nvidia-fs/version)"
    elif [ -r /proc/modules ]; then
        echo "nvidia-fs: $(grep '^nvidia_fs ' /proc/modules || echo 'not loaded: compatibility mode at most')"
    else
        echo "nvidia-fs: unknown, /proc/modules cannot be read"
    fi
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | sed -n 1p)
    echo "compute-sanitizer: ${sanitizer:-none}"
    command -v nvidia-smi >/dev/null &&
        nvidia-smi --format=csv --query-gpu=name,driver_version,pcie.link.gen.current,pcie.link.width.current
    echo "storage: $data, $(stat -f -c %T "$data")"
}

# ---- Running -------------------------------------------------------------------------------------------------------

table=()
failures=0
left_out_names=()

# note PART PASSED FAILED LEFT_OUT SECONDS
note() {
    table+=("$(printf '%-34s %6d %6d %9d %8d' "$@")")
    failures=$((failures + $3))
}

left() { echo $((SECONDS_MAX - SECONDS)); }

# bounded SECONDS COMMAND...: no longer than that, and than what is left of the whole.
bounded() {
    local most=$1 rest
    rest=$(left)
    shift
    timeout --kill-after=5 "$((rest < most ? (rest > 0 ? rest : 1) : most))" "$@"
}

# part NAME EXPECTED COMMAND...: passes if the command ends well and, unless EXPECTED is empty, says that.
part() {
    local name=$1 expected=$2 log=$logs/$1.log start=$SECONDS line
    shift 2
    if [ "$(left)" -le 0 ]; then
        left_out_names+=("$name: no time left")
        note "$name" 0 0 1 0
        return
    fi
    echo "== $name"
    if bounded "$PART_SECONDS_MAX" "$@" >"$log" 2>&1 && grep -Eq -- "$expected" "$log"; then
        cat "$log"
        while read -r line; do left_out_names+=("$name: $line"); done < <(grep 'LEFT OUT' "$log")
        note "$name" 1 0 "$(grep -c 'LEFT OUT' "$log")" $((SECONDS - start))
    else
        cat "$log"
        echo "FAILED: $name (rc or words; $log)"
        note "$name" 0 1 0 $((SECONDS - start))
    fi
}

self_test() {
    local log=$logs/self_test.log start=$SECONDS passed failed skipped
    echo "== self_test: what the tests believe of the driver"
    bounded "$PART_SECONDS_MAX" "$out/bin/self_test" >"$log" 2>&1
    local rc=$?
    passed=$(grep -c '^ok ' "$log") failed=$(grep -c '^FAIL ' "$log") skipped=$(grep -c '^skip ' "$log")
    [ $rc -lt 124 ] || failed=$((failed + 1)) # it did not come to its end
    grep -v '^ok ' "$log"
    left_out_names+=("self_test: $skipped tests that ask the stand-in itself")
    note self_test "$passed" "$failed" "$skipped" $((SECONDS - start))
}

# Takes the names of tests that failed, with a log for each, and tells those that were left out.
# judge SUITE TEST LOG: 0 if it was left out.
judge() {
    local why
    why=$(grep -o 'LEFT OUT: .*' "$3" | sed -n 1p)
    if [ -n "$why" ]; then
        left_out_names+=("$1 $2: ${why#LEFT OUT: }")
        return 0
    fi
    echo "FAILED: $1 $2"
    tail -n 20 "$3"
    return 1
}

suite_each() {
    local name=$1 binary=$2 start=$SECONDS passed=0 failed=0 skipped=0 test log
    while read -r test; do
        log=$logs/$name-$test.log
        if [ "$(left)" -le 0 ]; then
            left_out_names+=("$name $test: no time left")
            skipped=$((skipped + 1))
        elif bounded "$TEST_SECONDS_MAX" "$binary" --exact "$test" --nocapture >"$log" 2>&1; then
            passed=$((passed + 1))
        elif judge "$name" "$test" "$log"; then
            skipped=$((skipped + 1))
        else
            failed=$((failed + 1))
        fi
    done < <("$binary" --list 2>/dev/null | sed -n 's/: test$//p')
    note "$name" $passed $failed $skipped $((SECONDS - start))
}

# All tests in one process. The harness shows the words of each that failed behind a line with its name.
suite_all() {
    local name=$1 binary=$2 filter=$3 log=$logs/$1.log start=$SECONDS passed failed=0 skipped=0 test rc
    local arguments=($filter)
    if [ -z "${NIXL_STORE_TEST_LIBCUFILE:-}" ]; then
        arguments+=(--skip gds_)
        left_out_names+=("$name gds_*: there is no libcufile")
    fi
    bounded "$SUITE_SECONDS_MAX" "$binary" "${arguments[@]}" >"$log" 2>&1
    rc=$?
    passed=$(grep -c '^test .* \.\.\. ok$' "$log")
    while read -r test; do
        awk -v head="---- $test stdout ----" '$0 == head { on = 1; next } /^---- / { on = 0 } on' "$log" >"$logs/one.log"
        if judge "$name" "$test" "$logs/one.log"; then skipped=$((skipped + 1)); else failed=$((failed + 1)); fi
    done < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
    if ! grep -q '^test result: ' "$log"; then
        echo "FAILED: $name did not come to its end (status $rc)"
        tail -n 20 "$log"
        failed=$((failed + 1))
    fi
    note "$name${filter:+ *$filter*}" "$passed" $failed $skipped $((SECONDS - start))
}

suites() {
    local suite name mode filter
    for suite in "${SUITES[@]}"; do
        read -r name mode filter <<<"$suite"
        if [ ! -x "$out/bin/$name" ]; then continue; fi
        echo "== $name"
        if [[ $name == promise_gds* ]] && [ -z "${NIXL_STORE_TEST_LIBCUFILE:-}" ]; then
            left_out_names+=("$name: there is no libcufile")
            note "$name" 0 0 1 0
        elif [ "$mode" = each ]; then
            suite_each "$name" "$out/bin/$name"
        else
            suite_all "$name" "$out/bin/$name" "$filter"
        fi
    done
}

memcheck() {
    if [ -z "$sanitizer" ]; then
        left_out_names+=("memcheck: compute-sanitizer is not installed")
        note memcheck 0 0 1 0
        return
    fi
    local check=("$sanitizer" --tool memcheck --leak-check full --error-exitcode 9)
    local clean="ERROR SUMMARY: 0 errors"
    part memcheck-kernels "$clean" "${check[@]}" "$out/bin/gpu" kernels "$out/bin/kernels.ptx" "$out/bin/sums.tsv"
    part memcheck-cuda_offload "$clean" "${check[@]}" "$out/bin/cuda_offload"
    part memcheck-kv_connector "$clean" "${check[@]}" "$out/bin/kv_connector"
}

run() {
    [ -x "$out/bin/gpu" ] || fail "nothing is built in $out/bin; run $0 --build"
    mkdir -p "$data" "$logs"
    trap 'rm -rf "$data" "$logs/one.log"' EXIT
    device
    rest
    # A library of that soname that is loaded is the one that the library under test finds.
    export NIXL_STORE_TEST_LIBCUDA=${LIBCUDA:+$LIBCUDA/}libcuda.so.1
    if [ -n "$cufile" ]; then
        export NIXL_STORE_TEST_LIBCUFILE=$cufile
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(dirname "$cufile")
    fi
    export TMPDIR=$data
    SECONDS=0
    self_test
    part kernels ", 0 wrong" "$out/bin/gpu" kernels "$out/bin/kernels.ptx" "$out/bin/sums.tsv"
    part streams "streams that wait" "$out/bin/gpu" streams
    part cuda_offload "stretches compared, 0 wrong" "$out/bin/cuda_offload"
    part kv_connector "43 blocks, 26 of them loaded, 0 planes wrong" "$out/bin/kv_connector"
    memcheck
    part bench "sums on the device take" "$out/bin/gpu" bench "$data" "$out/bin/kernels.ptx"
    suites

    echo
    echo "Left out:"
    printf '  %s\n' "${left_out_names[@]}"
    echo
    printf '%-34s %6s %6s %9s %8s\n' part passed failed "left out" seconds
    printf '%s\n' "${table[@]}"
    echo
    [ $failures = 0 ] || fail "$failures failed; logs are in $logs"
    echo "test-gpu: nothing failed, in $SECONDS s"
}

case ${1:-} in
'') build_found && device >/dev/null && build && run ;;
--build) build ;;
--run) run ;;
*) fail "usage: test-gpu.sh [--build | --run]" ;;
esac
