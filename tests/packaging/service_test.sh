#!/usr/bin/env bash
# The Debian package in a whole system: a fresh Debian 12 in a folder, the package installed by apt
# with what it depends on, the system started in a container (without network), the service started,
# asked, killed, upgraded, given keys and removed. Needs root, a Debian mirror and the packages
# mmdebstrap and systemd-container; two minutes. No part of CTest.
#   service_test.sh PACKAGE.deb
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ "$(id -u)" -eq 0 ] || fail "needs root"
need mmdebstrap systemd-nspawn
package=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

echo "== A fresh Debian 12 with the package"
cp "$package" "$work/onepass.deb"
mmdebstrap --quiet --variant=apt --include=systemd,systemd-sysv,dbus,curl \
  --customize-hook="copy-in $work/onepass.deb /root" \
  --customize-hook='chroot "$1" apt-get install -y -q --no-install-recommends /root/onepass.deb' \
  bookworm "$root" >"$work/log" 2>&1 || fail "$(tail -30 "$work/log")"

cat >"$root/root/probe.sh" <<'PROBE'
#!/bin/bash
# In the container: every step and what came of it.
url=http://127.0.0.1:8000
check() { # WHAT WANTED FOUND
  if [ "$2" = "$3" ]; then echo "ok: $1: $3"; else echo "FAULT: $1: want $2, found $3"; fi
}
pid() { systemctl show -p MainPID --value onepass; }
answers() { # until the server takes requests
  for _ in {1..100}; do
    curl -s -o /dev/null "$url/health" && return
    sleep 0.1
  done
}
status() { curl -s -o /dev/null -w '%{http_code}' "$@" "$url/v1/models"; }

check "after installing" "disabled inactive" \
  "$(systemctl is-enabled onepass) $(systemctl is-active onepass)"
systemctl start onepass
answers
check "health" '{"status":"ok"}' "$(curl -s $url/health)"
answer=$(curl -s $url/v1/completions -H 'Content-Type: application/json' -d '{"model": "demo", "fields":
  {"I_ALL": "Which animal does David Fisher own?", "I_A": "The pet of David Fisher is a pony."}}')
check "an answer" '"text":" pony"' "$(grep -o '"text":" pony"' <<<"$answer")"
check "capabilities, new privileges, filter" "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 " \
  "$(sed -nE 's/^(CapBnd|NoNewPrivs|Seccomp):\t/\1: /p' "/proc/$(pid)/status" | tr '\n' ' ')"
check "root" no "$([ "$(stat -c %u "/proc/$(pid)")" -ne 0 ] && echo no)"
# Where the container's own limit is lower than the unit's, that is the limit.
check "descriptors: all that it may have" yes \
  "$(awk '/^Max open files/ && $4 == $5 && $4 > 1024 {print "yes"}' "/proc/$(pid)/limits")"
before=$(pid)
kill -KILL "$before"
sleep 4
answers
check "killed: another process serves" "200 other" \
  "$(status) $([ "$(pid)" != "$before" ] && echo other)"
before=$(pid)
dpkg --install /root/onepass.deb >/dev/null
answers
check "upgraded: another process serves" "200 other" \
  "$(status) $([ "$(pid)" != "$before" ] && echo other)"
systemctl stop onepass
check "stopped" "success 0 " "$(systemctl show onepass -p Result -p ExecMainStatus --value | tr '\n' ' ')"

# As the comments of the unit say.
printf 'a-key-of-the-test\n' >/etc/onepass/api-keys
chmod 600 /etc/onepass/api-keys
mkdir /etc/systemd/system/onepass.service.d
sed -nE 's/^#   (\[Service\]|LoadCredential=|Environment=)/\1/p' \
  /usr/lib/systemd/system/onepass.service >/etc/systemd/system/onepass.service.d/keys.conf
systemctl daemon-reload
systemctl start onepass
answers
check "without a key" 401 "$(status)"
check "with a key" 200 "$(status -H 'Authorization: Bearer a-key-of-the-test')"
systemctl enable onepass 2>/dev/null
dpkg --remove onepass >/dev/null
check "removed" inactive "$(systemctl is-active onepass)"
dpkg --purge onepass >/dev/null
check "purged: links of the service" "" "$(find /etc/systemd -name onepass.service)"
check "the journal has the log" listening "$(journalctl -u onepass -o cat | grep -o listening | head -1)"
echo "all steps"
PROBE
chmod 755 "$root/root/probe.sh"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
cat >"$root/etc/systemd/system/probe.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
ExecStart=/root/probe.sh
ExecStopPost=/usr/bin/systemctl poweroff
StandardOutput=file:/root/said
StandardError=file:/root/said
UNIT
ln -s ../probe.service "$root/etc/systemd/system/multi-user.target.wants/probe.service"

echo "== The service"
timeout 180 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --boot \
  >"$work/boot.log" 2>&1 </dev/null || fail "the system did not end: $(tail -5 "$work/boot.log")"
cat "$root/root/said"
! grep -q FAULT "$root/root/said" || fail "a step went wrong"
grep -qx "all steps" "$root/root/said" || fail "the steps broke off"
echo "service_test: ok"
