#!/usr/bin/env bash
# The manual pages: neither mandoc nor groff has anything to say about them, every command has one,
# and every option of a command's help stands in its page.
#   man_test.sh PROGRAM FOLDER     the folder that tools/make_man.py wrote
set -euo pipefail
. "$(dirname "$0")/common.sh"
need mandoc groff man
program=$1
cd "$2" # where mandoc looks for what pages refer to

for page in *.1; do
  # Beyond `style` mandoc wants the customs of one of the BSDs.
  said=$(mandoc -T lint -W style "$page" || true)
  said+=$(groff -mandoc -ww -z "$page" 2>&1)
  said+=$(MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  [ -z "$said" ] || fail "$page: $said"
done

help_of() { "$program" "$@" --help; }
below() { sed -n '/^Subcommands:/,$ s/^  \([a-z][a-z-]*\) .*/\1/p'; }
options() { grep -oE '^ +(-[a-z],)?--[a-z0-9-]+' | grep -oE -- '--.*' | grep -vx -- --help; }

overview=$(man -E UTF-8 -l onepass.1 | col -b)
count=0
for command in $(help_of | below); do
  page=onepass-$command.1
  [ -e "$page" ] || fail "no page for onepass $command"
  text=$(MANWIDTH=400 man -E UTF-8 -l "$page" | col -b)
  grep -q "onepass-$command(1)" <<<"$overview" || fail "onepass.1 does not name $command"
  for sub in "" $(help_of "$command" | below); do
    # shellcheck disable=SC2086  # no word for the command itself
    for option in $(help_of "$command" $sub | options); do
      grep -qE -- "^ +$option( |=|\[|\$)" <<<"$text" ||
        fail "$page lacks $option of $command $sub"
      count=$((count + 1))
    done
  done
done
[ "$count" -gt 100 ] || fail "only $count options were found in the help"
echo "man_test: $(find . -name "*.1" | wc -l) pages, $count options"
