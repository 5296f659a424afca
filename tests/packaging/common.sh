# Sourced by the tests of this folder; bash.
# shellcheck shell=bash
# need TOOL...: ends the test with a message unless all of these programs are there.
need() {
  local tool missing=()
  for tool in "$@"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "${0##*/}: missing: ${missing[*]}; tools/setup.sh package installs what is needed" >&2
    exit 1
  fi
}

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# For `trap finish EXIT` of a test that has a folder $work.
server=
finish() {
  [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
  rm -rf "$work"
}

# serve_the_demo PROGRAM SERVE.CONF ROOT: serves as the service would, from its settings, whose
# chains lie below ROOT; asks, and stops. Uses $work.
serve_the_demo() {
  local program=$1 root=$3 address answer words status=0
  ONEPASS_CHAINS='' ONEPASS_ARGS='' ONEPASS_HOST=''
  # shellcheck disable=SC1090
  . "$2"
  # Words, as systemd splits them; a port that is free, since 8000 may not be.
  read -ra words <<<"${ONEPASS_CHAINS//=\//="$root"/} $ONEPASS_ARGS"
  (cd / && exec "$program" serve --host "$ONEPASS_HOST" --port 0 "${words[@]}") \
    >"$work/serve.out" 2>"$work/serve.log" &
  server=$!
  for _ in $(seq 300); do
    address=$(sed -n 's/^onepass: serving on //p' "$work/serve.out")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || fail "the server ended: $(cat "$work/serve.log")"
    sleep 0.1
  done
  ask() { curl --silent --show-error --fail --max-time 60 "$@"; }
  [ "$(ask "$address/health")" = '{"status":"ok"}' ] || fail "/health"
  answer=$(ask "$address/v1/completions" -H 'Content-Type: application/json' -d '{"model": "demo", "fields":
    {"I_ALL": "Which animal does David Fisher own?", "I_A": "The pet of David Fisher is a pony."}}')
  echo "$answer"
  grep -q '"text":" pony"' <<<"$answer" || fail "another answer than pony"
  kill -TERM "$server"
  wait "$server" || status=$?
  server=
  [ "$status" -eq 0 ] || fail "the server ended with $status: $(cat "$work/serve.log")"
}
