#!/bin/sh
# In place of rustc, for crates of this workspace: links shared libraries by $LINKER.
case " $* " in
*" --crate-type cdylib "*) exec "$@" "-Clinker=${LINKER:?}" ;;
esac
exec "$@"
