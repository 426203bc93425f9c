#!/usr/bin/env bash
# Runs the model-checked tests: the crate is built with shuttle's threads and locks in place of std's, and tests whose
# names begin with shuttle_ try many schedules each. Arguments go to cargo test.
#
# A target directory of its own, because such a build must never be mistaken for the library. Without OBJ, which has no
# such tests, or the S3 SDK would be compiled once more.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
CARGO=${CARGO:-cargo}
target_dir=${CARGO_TARGET_DIR:-target}/shuttle

output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$CARGO" test "$@" --no-default-features --features shuttle --target-dir "$target_dir" --lib shuttle_ 2>&1 | tee "$output"
# A filter that matches nothing is a success to cargo.
grep -Eq '^test result: ok\. [1-9][0-9]* passed' "$output" ||
    { echo "test-shuttle: no test was run" >&2; exit 1; }
