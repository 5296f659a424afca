#!/usr/bin/env bash
# The Debian package: made from a build folder, looked at by lintian, installed by dpkg into an empty
# root, served from there and asked, removed and purged. Needs no rights, no network but loopback,
# and nothing of the machine's own packages but the libraries that the program needs.
#   deb_test.sh BUILD
# service_test.sh installs it into a whole system and starts the service.
set -euo pipefail
. "$(dirname "$0")/common.sh"
need cpack dpkg dpkg-deb dpkg-shlibdeps lintian curl systemd-analyze ldd
build=$1
work=$(mktemp -d)
trap finish EXIT

echo "== Package"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work/package" >"$work/cpack.log" 2>&1 ||
  fail "cpack: $(cat "$work/cpack.log")"
package=$(echo "$work"/package/onepass_*.deb)
echo "${package##*/}: $(stat -c %s "$package") bytes," \
  "installed $(dpkg-deb -f "$package" Installed-Size) KiB"
dpkg-deb -f "$package" Depends
others=$(dpkg-deb --fsys-tarfile "$package" | tar -tv | awk '$2 != "root/root" || /^.{5}w|^.{8}w/')
[ -z "$others" ] || fail "not root's, or others may write: $others"

echo "== lintian"
as_root=()
[ "$(id -u)" -ne 0 ] || as_root=(--allow-root)
lintian "${as_root[@]}" --display-info --fail-on error,warning "$package" || fail "lintian has errors or warnings"

echo "== Install"
root=$work/root
mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers} "$root/tmp"
touch "$root"/var/lib/dpkg/{status,available}
# The root is empty: no libraries to depend on, no shell for the scripts, which get DPKG_ROOT.
in_root() {
  PATH=$PATH:/usr/sbin:/sbin dpkg --root="$root" --force-not-root --force-bad-path --force-depends \
    --force-script-chrootless --log=/dev/null "$@" >"$work/dpkg.log" 2>&1 ||
    fail "dpkg $*: $(cat "$work/dpkg.log")"
}
in_root --install "$package"
! find "$root/etc/systemd" -name 'onepass*' 2>/dev/null | grep . || fail "the service was enabled unasked"
! ldd "$root/usr/bin/onepass" | grep "not found" || fail "libraries are missing"
"$root/usr/bin/onepass" --version
for place in share/man/man1/onepass.1.gz share/man/man1/onepass-serve.1.gz \
  share/bash-completion/completions/onepass share/zsh/vendor-completions/_onepass \
  share/fish/vendor_completions.d/onepass.fish share/doc/onepass/copyright \
  share/doc/onepass/docs/serving.md lib/systemd/system/onepass.service; do
  [ -s "$root/usr/$place" ] || fail "/usr/$place is missing"
done

echo "== The service's file"
unit=$root/usr/lib/systemd/system/onepass.service
# What it starts lies in the root, not here; the manual is not installed here either.
sed "s|/usr/bin/onepass|$root/usr/bin/onepass|; /^Documentation=/d" "$unit" >"$work/onepass.service"
said=$(systemd-analyze verify "$work/onepass.service" 2>&1) || fail "systemd-analyze verify: $said"
[ -z "$said" ] || fail "systemd-analyze verify: $said"
systemd-analyze security --offline=true --threshold=15 "$unit" | tail -1

echo "== Run, from the installed files and settings"
serve_the_demo "$root/usr/bin/onepass" "$root/etc/onepass/serve.conf" "$root"

echo "== Remove and purge"
echo '# a change of ours' >>"$root/etc/onepass/serve.conf"
in_root --install "$package"
grep -q 'a change of ours' "$root/etc/onepass/serve.conf" || fail "a changed setting was lost in an upgrade"
in_root --remove onepass
left=$(find "$root" -type f -not -path "$root/var/lib/*")
[ "$left" = "$root/etc/onepass/serve.conf" ] || fail "removing left: $left"
in_root --purge onepass
left=$(find "$root" -type f -not -path "$root/var/lib/dpkg/*")
[ -z "$left" ] || fail "purging left: $left"
echo "deb_test: ok"
