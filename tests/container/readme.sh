# shellcheck shell=bash disable=SC2154,SC2034
# Holds examples/api/README.md to its word. Sourced by run.sh, last: the table names probes of every section.

readme=$example/README.md

# The rows of the table, with their cells apart by tabs.
practices() {
  awk '/^### Which practice is where/ { on = 1; next } /^###/ { on = 0 } on && /^\|/' "$readme" | tail -n +3 | sed 's/^| *//; s/ *|$//; s/ *| */\t/g'
}
has_no_empty_cell() {
  [ "$(practices | wc -l)" -gt 20 ] || { echo "there is no table"; return 1; }
  empty "$(practices | awk -F '\t' 'NF != 3 || $1 == "" || $2 == "" || $3 !~ /`/')"
}
# Each name in the last column, which may have an asterisk, is one that this run has had.
names_probes_that_exist() {
  local pattern name found status=0
  while read -r pattern; do
    found=''
    for name in "${names[@]}"; do
      # shellcheck disable=SC2053 # the right side is a pattern
      [[ $name == $pattern ]] && { found=1; break; }
    done
    [ -n "$found" ] || { echo "no probe is named $pattern"; status=1; }
  done < <(practices | cut -f 3 | grep --only-matching '`[^`]*`' | tr -d '`')
  return "$status"
}
names_files_that_exist() {
  local file status=0
  while read -r file; do
    [ -e "$example/$file" ] || { echo "there is no $file"; status=1; }
  done < <(grep --only-matching --perl-regexp '\]\(\K[^)#]+(?=\))' "$readme" | grep --invert-match '^https\?:')
  return "$status"
}
tells_the_size() {
  local told measured
  told=$(grep --only-matching --perl-regexp '^The image is \K[0-9]+(?= MB)' "$readme")
  measured=$(($(field "$image" '{{.Size}}') / 1000000))
  # The base grows and shrinks a little with its packages.
  [ "$told" -ge $((measured - 1)) ] && [ "$told" -le $((measured + 1)) ] || { echo "it says $told MB, the image has $measured MB"; return 1; }
}
picture_can_be_drawn() { python3 -c 'import sys, xml.etree.ElementTree as x; r = x.parse(sys.argv[1]).getroot(); sys.exit(not r.tag.endswith("svg"))' "$example/architecture.svg"; }

# The first lines that a stranger copies, word for word but for the port, in a clone of what is committed or about to be.
first_lines() { awk '/^## In a container/ { on = 1 } on && /^```sh/ { code = 1; next } code && /^```/ { exit } code' "$readme"; }
five_lines_bring_the_stack_up() {
  local lines clone=$work/clone output status=0
  lines=$(first_lines)
  is 5 "$(wc -l <<<"$lines")" || return 1
  clean_context "$clone"
  export -f docker
  output=$(
    cd "$clone" &&
      COMPOSE_PROJECT_NAME=palisade-readme COMPOSE_FILE=compose.yaml:$here/compose.build.yaml COMPOSE_ANSI=never \
        PALISADE_HTTPS=127.0.0.1:$https_port PALISADE_HTTP=127.0.0.1:$http_port \
        bash -euo pipefail -c "${lines//8443/$https_port}" 2>&1
  ) || status=1
  (cd "$clone/examples/api" && docker compose --project-name palisade-readme down --volumes --timeout 5 >/dev/null 2>&1) || true
  [ "$status" -eq 0 ] || { tail -n 30 <<<"$output"; return 1; }
  contains '"client"' "$(tail -n 1 <<<"$output")"
}

probe_readme() {
  check readme-has-no-empty-cell has_no_empty_cell
  check readme-links-lead-somewhere names_files_that_exist
  check readme-picture-can-be-drawn picture_can_be_drawn
  check readme-tells-the-size tells_the_size
  stack_down
  check readme-five-lines-bring-the-stack-up five_lines_bring_the_stack_up
  if [ ${#sections[@]} -eq ${#all[@]} ]; then
    check readme-names-probes-that-exist names_probes_that_exist
  else
    skip readme-names-probes-that-exist "only a run of all sections has every probe"
  fi
}
