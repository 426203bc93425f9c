#!/usr/bin/env bash
# Counts the instructions of each operation under callgrind and compares them with benches/instructions/budget.txt.
#
#     bench-instructions.sh             check against the budgets
#     bench-instructions.sh --update    write the budgets anew, from what is measured now; on an idle machine
#
# Unlike time, instructions hardly depend on what else the machine does: on an idle one, all threads of the process
# together repeat themselves to a part in a thousand; on a busy one, single puts and gets take up to five percent less.
# What they do depend on is kept the same: one lane, MEMORY as backend, so that no device is waited for, and memcpy and
# memset without `rep stosb`, which counts an instruction for each byte. The processor that valgrind shows has AVX2 and
# no AVX-512 wherever the real one has AVX2.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
CARGO=${CARGO:-cargo}
CC=${CC:-cc}
budgets=benches/instructions/budget.txt
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/instructions

# Budget above what is measured, in percent. Two runs of one build differ by less than one. The library is compiled as one
# unit, or a change elsewhere would move the cuts between units, and with them what a put takes, by up to five.
MARGIN_PERCENT=5
# Other compilers inline differently; that much is let through where the budgets were taken with another one.
COMPILER_PERCENT=15
# What a put or a get may take more under REUSE than under LRU, in percent.
REUSE_PERCENT=5
# Cheaper than that below the budget, and the budget no longer guards.
SLACK_PERCENT=25

say() { echo "bench-instructions: $*"; }
fail() { say "$*" >&2; exit 1; }

case "${1:-}" in
    '' | --update) ;;
    *) fail "unknown argument $1; --update is the one there is" ;;
esac
if [ "$(uname -m)" != x86_64 ] || ! grep -qw avx2 /proc/cpuinfo; then
    say "skipped: the budgets are for x86-64 with AVX2, which this machine is not"
    exit 0
fi
for tool in valgrind "$CARGO" "$CC" rustc; do
    command -v "$tool" >/dev/null || fail "$tool was not found; make setup installs what is missing, or says what to do"
done
echo '#include <valgrind/callgrind.h>' | "$CC" -E -x c - >/dev/null 2>&1 ||
    fail "valgrind/callgrind.h was not found; it is in Debian's package valgrind, elsewhere often in valgrind-devel"

"$CARGO" build --release --lib --locked
rm -rf "$out"
mkdir -p "$out"
# The program asks the loader for the soname, which it finds beside it.
cp "$release_dir/libnixl_store.so" "$out/libnixl_store.so.0"
ln -s libnixl_store.so.0 "$out/libnixl_store.so"
"$CC" -std=c11 -O2 -Wall -Wextra -Wpedantic -Iinclude -o "$out/operations" benches/instructions/operations.c \
    -L"$out" -lnixl_store "-Wl,-rpath,\$ORIGIN"

# Counts the operations with a configuration and writes instructions for each, and the profiles behind them, with that prefix.
measure() {
    local config=$1 prefix=$2 name calls profiles instructions profile
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS valgrind --quiet --tool=callgrind \
        --callgrind-out-file="$out/callgrind.out" "$out/operations" "$config" >"$out/calls.txt" ||
        fail "the operations failed under callgrind"
    # The middle one of an operation's profiles counts. One of them now and then holds what has nothing to do with the
    # operation, such as a thread of the library that wakes once in a while; and on a busy machine a caller sometimes
    # finds done what it would have slept for, which takes fewer.
    while read -r name calls; do
        mapfile -t profiles < <(
            grep -lx "desc: Trigger: Client Request: $name" "$out"/callgrind.out.* | xargs -r grep -H '^totals: ' |
                sed 's/^\(.*\):totals: \(.*\)$/\2 \1/' | sort -n
        )
        [ ${#profiles[@]} -gt 0 ] || fail "callgrind wrote no profile of $name"
        read -r instructions profile <<<"${profiles[$((${#profiles[@]} / 2))]}"
        mv "$profile" "$out/$prefix$name.callgrind"
        echo "$name $((instructions / calls))"
    done <"$out/calls.txt" >"$out/${prefix}measured.txt"
    rm -f "$out"/callgrind.out*
}

measure benches/instructions/lmcache.yaml ''
measure benches/instructions/lmcache-reuse.yaml reuse-

compiler=$(rustc --version | cut -d ' ' -f 1-2)
if [ "${1:-}" = --update ]; then
    {
        sed -n '/^#/p' "$budgets"
        echo "compiler $compiler"
        awk -v margin=$MARGIN_PERCENT '{ printf "%-18s %d\n", $1, int($2 * (1 + margin / 100)) + 1 }' "$out/measured.txt"
    } >"$out/budget.txt"
    mv "$out/budget.txt" "$budgets"
    say "wrote $budgets; look at the difference, and say in the commit what an operation got dearer for"
    exit 0
fi

tolerance=0
budget_compiler=$(sed -n 's/^compiler //p' "$budgets")
if [ "$compiler" != "$budget_compiler" ]; then
    tolerance=$COMPILER_PERCENT
    say "the budgets were taken with $budget_compiler, this is $compiler: $tolerance % more are let through"
fi

awk -v tolerance="$tolerance" -v slack=$SLACK_PERCENT -v out="$out" -v budgets="$budgets" '
    /^#/ || $1 == "compiler" || NF == 0 { next }
    FILENAME == budgets { budget[$1] = $2; next }
    FNR == 1 { printf "%-18s %12s %12s\n", "instructions of", "measured", "budget" }
    {
        printf "%-18s %12d %12s  %+.1f %%\n", $1, $2, ($1 in budget) ? budget[$1] : "none",
            ($1 in budget) ? 100 * ($2 / budget[$1] - 1) : 0
        if (!($1 in budget)) {
            failures = failures $1 " has no budget.\n"
        } else if ($2 > budget[$1] * (1 + tolerance / 100)) {
            failures = failures sprintf("%s takes %d instructions, its budget is %d. ", $1, $2, budget[$1]) \
                "What they are:\n    callgrind_annotate --auto=no " out "/" $1 ".callgrind\n"
        } else if ($2 < budget[$1] * (1 - slack / 100)) {
            failures = failures sprintf("%s takes %d instructions, far below its budget of %d: ", $1, $2, budget[$1]) \
                "lower it, so that it goes on guarding.\n"
        }
        seen[$1] = 1
    }
    END {
        for (name in budget)
            if (!(name in seen))
                failures = failures name " has a budget and was not measured.\n"
        if (failures == "")
            exit 0
        printf "\n%sTo compare, run the same before the change and keep its profiles. Where the new number is wanted:\n" \
            "    scripts/bench-instructions.sh --update\n", failures
        exit 1
    }' "$budgets" "$out/measured.txt"

awk -v most=$REUSE_PERCENT '
    FNR == NR { lru[$1] = $2; next }
    FNR == 1 { printf "\n%-18s %12s %12s\n", "the same", "under REUSE", "under LRU" }
    $1 ~ /^(batch_)?(put|get)_[0-9]/ {
        printf "%-18s %12d %12d  %+.1f %%\n", $1, $2, lru[$1], 100 * ($2 / lru[$1] - 1)
        if ($2 > lru[$1] * (1 + most / 100))
            failures = failures sprintf("%s takes %d instructions under REUSE, %d under LRU.\n", $1, $2, lru[$1])
    }
    END {
        if (failures != "") {
            printf "\n%s", failures
            exit 1
        }
    }' "$out/measured.txt" "$out/reuse-measured.txt"
