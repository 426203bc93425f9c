#!/usr/bin/env bash
# Makes the Debian package, installs it on a bare system, runs its own example there, and removes it again. Run by ctest.
#
#   debian.sh WORK_DIR
#
# The bare system is a folder with dpkg, the packages that dpkg and ours depend on, libc6-dev to compile the example, and
# nothing else, copied from this machine; it has no network. The compiler is this machine's.
set -euo pipefail

work=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${CMAKE:?}" "${CPACK:?}" "${CC:?}" "${GENERATOR:?}" "${BUILD_TREE:?}" "${VERSION:?}" "${CLI:?}" "${OBJ:?}"
: "${CARGO:?}" "${CARGO_TARGET_DIR:?}"
# To cargo, which cpack asks whether all is built, another CC in the environment is a reason to compile anew.
export -n CC
# Exit status by which ctest knows a test that was not run.
SKIPPED=77
bare=$work/bare
rm -rf "$work"
mkdir -p "$bare"
trap 'rm -rf "$bare"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
skip() {
    echo "package: SKIPPED, $*"
    exit $SKIPPED
}

for tool in dpkg dpkg-deb dpkg-query dpkg-shlibdeps unshare; do
    command -v "$tool" >/dev/null || skip "there is no $tool here"
done
namespaces=(unshare --mount --pid --net --ipc --fork)
[ "$(id -u)" = 0 ] || namespaces+=(--map-root-user)
"${namespaces[@]}" true 2>"$work/why" || skip "this user may not make a system of its own: $(cat "$work/why")"

# As `make package` does it. cpack builds all of a tree first, which this tree's tests are part of, so it has one of its own;
# the libraries are those that are tested here.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }; }
quietly "$CMAKE" -S "$root" -B "$work/packed" -G "$GENERATOR" -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_C_COMPILER="$CC" \
    -DNIXL_STORE_CARGO="$CARGO" -DNIXL_STORE_CARGO_TARGET_DIR="$CARGO_TARGET_DIR" -DNIXL_STORE_CLI="$CLI" -DNIXL_STORE_OBJ="$OBJ"
cp -a "$BUILD_TREE/lib/." "$work/packed/lib"
quietly "$CMAKE" --build "$work/packed"
cd "$work/packed"
quietly "$CPACK" -G DEB
package=$work/packed/nixl-store_${VERSION}_$(dpkg --print-architecture).deb
[ -f "$package" ] || fail "cpack did not make $(basename "$package")"
field() { dpkg-deb --field "$package" "$1"; }

# The package by itself: fields, owners, modes, places.
[ "$(field Package)" = nixl-store ] && [ "$(field Version)" = "$VERSION" ] || fail "package is $(field Package) $(field Version)"
for dependency in $(field Depends | sed 's/([^)]*)//g; s/,/ /g'); do
    case $dependency in
    libc6 | libgcc-s1) ;;
    *) fail "the package depends on $dependency" ;;
    esac
done
dpkg-deb --ctrl-tarfile "$package" | tar -tf - >"$work/control"
grep -qx ./conffiles "$work/control" && fail "the package has configuration files"
dpkg-deb --ctrl-tarfile "$package" | tar -xOf - ./shlibs >"$work/shlibs"
grep -qx "libnixl_store 0 nixl-store (= $VERSION)" "$work/shlibs" || fail "shlibs: $(cat "$work/shlibs")"
dpkg-deb --contents "$package" >"$work/contents"
grep -v ' root/root ' "$work/contents" && fail "these are not root's"
grep -Ev '^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx) ' "$work/contents" && fail "these have modes of their own"
grep -Ev ' \./(usr/.*)?$' "$work/contents" && fail "these are outside /usr"
for name in copyright LICENSES-OF-CRATES.txt; do
    grep -q " ./usr/share/doc/nixl-store/$name\$" "$work/contents" || fail "there is no $name"
done

# with_dependencies PACKAGE...: names of these packages and of all that they depend on, as they are installed here
with_dependencies() {
    local -A seen=()
    local queue=("$@") name group choice
    while [ ${#queue[@]} -gt 0 ]; do
        name=${queue[0]}
        queue=("${queue[@]:1}")
        [ -z "${seen[$name]:-}" ] || continue
        seen[$name]=1
        while read -r group; do
            # Of alternatives the first that is installed.
            for choice in $(sed 's/([^)]*)//g; s/:any//g; s/|/ /g' <<<"$group"); do
                if dpkg-query -W -f '${Status}' "$choice" 2>/dev/null | grep ' installed$' >/dev/null; then
                    queue+=("$choice")
                    break
                fi
            done
        done < <(dpkg-query -W -f '${Pre-Depends},${Depends}\n' "$name" | tr ',' '\n')
    done
    printf '%s\n' "${!seen[@]}" | sort
}

# wanted: of the paths of packages those that a bare system needs
wanted() { grep -Ev '^/(\.|bin|sbin|lib|lib32|lib64|libx32)?$|^/usr/share/(doc|man|locale|info|lintian)(/|$)'; }
# shellcheck disable=SC2046 # names are to be split
mapfile -t packages < <(with_dependencies dpkg dash coreutils tar sed diffutils libc-bin libc6-dev base-files \
    $(field Depends | sed 's/([^)]*)//g; s/,/ /g'))
mkdir -p "$bare"/{usr/bin,usr/sbin,usr/lib,usr/lib64,var/lib/dpkg/{info,updates},var/log,etc,proc,dev,tmp}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$bare/$folder"; done
for name in "${packages[@]}"; do dpkg -L "$name"; done | wanted | sort -u |
    while read -r path; do [ -e "$path" ] && [ ! -d "$path" ] && echo "$path"; done >"$work/paths" || true
tar -C / -cf - --no-recursion -T "$work/paths" 2>/dev/null | tar -C "$bare" --keep-directory-symlink -xf -
for name in "${packages[@]}"; do
    dpkg-query --status "$name" >>"$bare/var/lib/dpkg/status"
    echo >>"$bare/var/lib/dpkg/status"
    cp /var/lib/dpkg/info/"$name"{,:*}.{list,md5sums} "$bare/var/lib/dpkg/info/" 2>/dev/null || true
done
[ -e "$bare/bin/sh" ] || ln -s dash "$bare/usr/bin/sh"
echo 'root:x:0:0::/:/bin/sh' >"$bare/etc/passwd"
echo 'root:x:0:' >"$bare/etc/group"
echo "package: a bare system of ${#packages[@]} packages, $(du -sm "$bare" | cut -f 1) MB"

# inside COMMAND...: runs it on the bare system
inside() {
    # shellcheck disable=SC2016 # for the shell inside
    "${namespaces[@]}" sh -c 'bare=$1 && shift && mount -t proc proc "$bare/proc" && mount --rbind /dev "$bare/dev" &&
        exec env -i PATH=/usr/sbin:/usr/bin LC_ALL=C chroot "$bare" "$@"' sh "$bare" "$@"
}
everything() {
    (cd "$bare" && find . \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./tmp -o -path ./dev \
        -o -path ./proc -o -path ./etc/ld.so.cache \) -prune -o -print | sort)
}

inside ldconfig
everything >"$work/before"
cp "$package" "$bare/tmp/nixl-store.deb"
inside dpkg --install /tmp/nixl-store.deb
[ -z "$(inside dpkg --audit nixl-store)" ] || fail "dpkg finds fault: $(inside dpkg --audit nixl-store)"
[ -z "$(inside dpkg --verify nixl-store)" ] || fail "these files are not as packaged: $(inside dpkg --verify nixl-store)"
inside ldconfig -p >"$work/cache"
grep -q 'libnixl_store\.so\.0 ' "$work/cache" || fail "the loader was not told of the library"
if [ "$CLI" = 1 ]; then
    [ "$(inside nixl-store --version)" = "nixl-store $VERSION" ] || fail "the command is not version $VERSION"
fi

# The example is compiled with what is in the bare system, and with nothing but the name of the library.
examples=$bare/usr/share/doc/nixl-store/examples
"$CC" --sysroot="$bare" -o "$bare/tmp/quickstart" "$examples/quickstart.c" -lnixl_store
sed -e 's|/mnt/nixl/cache/|/tmp/store|' -e 's/33554432/1048576/' "$examples/lmcache.yaml" >"$bare/tmp/lmcache.yaml"
mkdir -p "$bare/tmp/store"
inside /tmp/quickstart /tmp/lmcache.yaml

inside dpkg --purge nixl-store
everything >"$work/after"
diff "$work/before" "$work/after" || fail "the package leaves these behind"
inside ldconfig -p >"$work/cache"
if grep nixl_store "$work/cache"; then fail "the loader still knows the library"; fi
echo "package: the Debian package installs, runs its example and leaves nothing behind"
