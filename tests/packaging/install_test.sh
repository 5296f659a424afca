#!/usr/bin/env bash
# `cmake --install` to another place than /usr: what is installed names that place, is served from
# there, and settings that are there are left alone.
#   install_test.sh BUILD
set -euo pipefail
. "$(dirname "$0")/common.sh"
need cmake curl man
build=$1
work=$(mktemp -d)
trap finish EXIT

# names_no_other_place ROOT PREFIX
names_no_other_place() {
  local file found
  for file in lib/systemd/system/onepass.service etc/onepass/serve.conf share/man/man1/onepass-serve.1; do
    [ -s "$1$2/$file" ] || fail "$2/$file is missing"
    found=$(sed "s|$2/||g" "$1$2/$file" | grep -noE '/(usr|etc)/[a-z/-]*' || true)
    [ -z "$found" ] || fail "$2/$file names $found"
    grep -q "$2/" "$1$2/$file" || fail "$2/$file does not name $2"
  done
}

echo "== Install to a folder"
prefix=$work/a/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || fail "$(cat "$work/install.log")"
names_no_other_place "" "$prefix"
for file in share/bash-completion/completions/onepass share/zsh/site-functions/_onepass \
  share/fish/vendor_completions.d/onepass.fish share/doc/onepass/docs/serving.md; do
  [ -s "$prefix/$file" ] || fail "$file is missing"
done
(cd / && MANPATH=$prefix/share/man man onepass-serve >/dev/null) || fail "man onepass-serve"
(cd / && "$prefix/bin/onepass" --version)

echo "== Run from there"
serve_the_demo "$prefix/bin/onepass" "$prefix/etc/onepass/serve.conf" ""

echo "== Install again"
echo "# a change of ours" >>"$prefix/etc/onepass/serve.conf"
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || fail "$(cat "$work/install.log")"
grep -q "a change of ours" "$prefix/etc/onepass/serve.conf" || fail "a changed setting was lost"

echo "== Install for another place (DESTDIR)"
DESTDIR=$work/stage cmake --install "$build" --prefix /opt/onepass >"$work/install.log" ||
  fail "$(cat "$work/install.log")"
names_no_other_place "$work/stage" /opt/onepass
[ -x "$work/stage/opt/onepass/bin/onepass" ] || fail "the program is missing"
left=$(find "$work/stage" -type f -not -path "$work/stage/opt/onepass/*")
[ -z "$left" ] || fail "files elsewhere: $left"
echo "install_test: ok"
