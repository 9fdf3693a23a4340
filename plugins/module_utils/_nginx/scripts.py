# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shell scripts that run where nginx does. They need no more than POSIX and what busybox has.

They write to a folder of their own in memory (/dev/shm, which a container has even when its file system is read-only)
and remove it whatever happens: a script whose caller dies sees the end of its standard input.
"""

from __future__ import annotations

MARK = "--- phase.console ---"  # a line that ends a file

# $1: the folder of nginx.conf, $2: a name. Makes $d, a copy of the folder: files are links, and those that name the
# folder are copied with the copy's name in its place, so that includes lead to the copy.
_COPY = r"""
set -eu
root=$1 d=
for base in /dev/shm /tmp /run /var/run; do
  if [ -d "$base" ] && [ -w "$base" ]; then d=$(mktemp -d "$base/$2.XXXXXX") && break; fi
done
[ -n "$d" ] || { echo "no folder here can be written to" >&2; exit 70; }
trap 'rm -rf "$d"' EXIT
trap 'exit 75' HUP INT TERM
(cd "$root" && find . -type d) | while IFS= read -r name; do mkdir -p "$d/$name"; done
(cd "$root" && find . ! -type d) | while IFS= read -r name; do
  if [ -f "$root/$name" ] && grep -qF "$root/" "$root/$name"; then
    sed "s#$root/#$d/#g" "$root/$name" > "$d/$name"
  else
    ln -s "$root/$name" "$d/$name"
  fi
done
"""

# $3: nginx.conf, $4: the file to try, both relative to the folder; $5: nginx. The candidate comes in.
TEST = (
    _COPY
    + r"""
mkdir -p "$d/$(dirname "$4")"
rm -f "$d/$4"
sed "s#$root/#$d/#g" > "$d/$4"
printf '%s\n' "$d"
"$5" -T -c "$d/$3"
"""
)

# $3: a line that ends a file, $4: nginx, $5: seconds at most. Two files come in, then nothing while they are tried.
TRY = (
    _COPY
    + r"""
for name in stranger insider; do
  while IFS= read -r line && [ "$line" != "$3" ]; do printf '%s\n' "$line"; done | sed "s#@DIR@#$d#g" > "$d/$name.trial"
done
trap 'kill $pids 2>/dev/null || :; wait; rm -rf "$d"' EXIT
pids=
for name in stranger insider; do
  "$4" -c "$d/$name.trial" -g 'daemon off;' >/dev/null &
  pids="$pids $!"
done
for name in stranger insider; do
  left=100
  until [ -s "$d/$name.pid" ]; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || exit 71
    sleep 0.1
  done
done
for pid in $pids; do kill -0 "$pid"; done
echo up
if command -v timeout >/dev/null; then timeout "$5" cat >/dev/null || :; else cat >/dev/null; fi
"""
)

# $1: the file, $2: nginx. What nginx was built with, what runs, the clock, the file's times, then the file.
LOOK = r"""
"$2" -V 2>&1 | sed -n 's/^configure arguments:/build/p'
echo "uptime $(cut -d' ' -f1 /proc/uptime)"
echo "now $(date +%s)"
echo "changed $(stat -c %Z "$1" 2>/dev/null || echo 0)"
for process in /proc/[0-9]*; do
  title=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) || continue
  case $title in
    "nginx: "*) echo "process $(cat "$process/stat" 2>/dev/null) $title" ;;
  esac
done
echo content
cat "$1"
"""
