#!/bin/sh
# Runs the real libcufile over the stand-in: cufile_check.sh OUTDIR LIBCUFILE... builds both programs there and checks
# each library in turn, which PyPI has as nvidia-cufile (CUDA 13) and nvidia-cufile-cu12. Exits 77 where none is given
# and none is found.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: cufile_check.sh OUTDIR [LIBCUFILE...]}
shift
mkdir -p "$out"

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # paths of packages have no blanks
    set -- $(find "$out" /usr/local/cuda/lib64 /usr/lib/x86_64-linux-gnu -name libcufile.so.0 2>/dev/null || true)
fi
if [ $# -eq 0 ]; then
    echo 'cufile_check: no libcufile.so.0 is here; `pip download nvidia-cufile nvidia-cufile-cu12` gets it' >&2
    exit 77
fi

"$here/build.sh" "$out"
# It exports fopen, see there.
"${CC:-cc}" -std=c11 -O1 -g -Wall -Wextra -Wpedantic -rdynamic "$here/cufile_check.c" -o "$out/cufile_check" -ldl

# cuFile asks udev for the file system of a block device. Where that is not answered, only files on tmpfs will do,
# and only for version 1.20.
run='exec "$1/cufile_check" "$2" "$3"'
answered='mount -t tmpfs standin "$4" && mkdir -p /run/udev/data && : >/run/udev/control &&
    printf "E:ID_FS_USAGE=filesystem\nE:ID_FS_TYPE=ext4\n" >"/run/udev/data/b$(stat -c %Hd:%Ld "$3")" && '
folder=$out
if [ -d /run/udev ] && unshare -m true 2>/dev/null; then
    set_apart='unshare -m' udev=/run/udev run=$answered$run
elif unshare -Urm true 2>/dev/null; then
    set_apart='unshare -Urm' udev=/run run=$answered$run
else
    set_apart='' udev='' folder=$(mktemp -d /dev/shm/cufile_check.XXXXXX)
    trap 'rmdir "$folder"' EXIT
fi

failed=0
for library in "$@"; do
    echo "cufile_check: $library"
    # shellcheck disable=SC2086 # a command and its flag
    CUFILE_LOGFILE_PATH=$out/cufile.log LD_LIBRARY_PATH=$out${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
        $set_apart sh -c "$run" sh "$out" "$library" "$folder" "$udev" || failed=1
done
exit "$failed"
