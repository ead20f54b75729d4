# shellcheck shell=bash disable=SC2154,SC2034
# What the container tests share: lines of the table, waiting, the engine's commands. Sourced by run.sh.

passed=0
failed=0
skipped=0
# Of every line.
names=()

say() { printf '\n# %s (%s s)\n' "$*" "$SECONDS"; }

# check NAME COMMAND..: the line of one probe. The command's output is shown where it fails.
check() {
  local name=$1 output
  shift
  names+=("$name")
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "not ok $name"
    sed 's/^/    /' <<<"${output:-nothing was said}" | tail -n 30
    return 1
  fi
}

# refuses COMMAND..: holds where the command does not. `check control-x refuses has_no_shell BAD` shows that a probe can fail.
refuses() {
  local output
  if output=$("$@" 2>&1); then
    echo "passed, but should not have: $* $output"
    return 1
  fi
}

skip() {
  names+=("$1")
  skipped=$((skipped + 1))
  echo "skipped $1: $2"
}

closing_line() {
  echo
  echo "$passed passed, $failed failed, $skipped skipped"
}

# is EXPECTED ACTUAL
is() {
  [ "$1" = "$2" ] || { echo "expected: $1"; echo "actual:   $2"; return 1; }
}

# contains PART TEXT
contains() {
  case "$2" in *"$1"*) ;; *) echo "no $1 in: $2"; return 1 ;; esac
}

# lacks PART TEXT
lacks() {
  case "$2" in *"$1"*) echo "$1 is in: $2"; return 1 ;; esac
}

# empty TEXT
empty() { is '' "$1"; }

# eventually SECONDS COMMAND..: until it holds, or the time is over; then its last words.
eventually() {
  local until=$((SECONDS + $1)) output
  shift
  while ! output=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$until" ] || { echo "$output"; return 1; }
    read -rt 0.2 <> <(:) || true
  done
}

# A command, or a file by its path.
need_command() {
  [ -e "$1" ] || command -v "$1" >/dev/null
}
