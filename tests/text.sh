#!/usr/bin/env bash
# Spelling and links, offline: no word that codespell knows for a typo or as British, no relative link without a file and a heading behind
# it, no link elsewhere that is not a whole https address, and no test named that is not there. Links between items of the documentation are rustdoc's to check.
set -euo pipefail
cd "$(dirname "$0")/.."

# What codespell takes for typos and is none: the language's word, a type of ours, EACCES, static items, and a type of rcgen.
words=crate,inflight,acces,statics,keypair

mapfile -t texts < <(git ls-files -- '*.md' '*.rs' '*.sh' '*.toml' '*.yaml' '*.yml' '*.conf' '*.html')
codespell --builtin clear,rare,en-GB_to_en-US --ignore-words-list "$words" "${texts[@]}"

failed=0
complain() {
  echo "$1: $2" >&2
  failed=1
}

# A Markdown file without its blocks and spans of code.
prose() {
  awk '/^ *(```|~~~)/ { code = !code; next } !code' "$1" | sed 's/`[^`]*`//g'
}

links() {
  grep -oP '\]\(\K[^)\s]+(?=\))' || true
}

# The anchors of a file's headings, as hosts of repositories make them.
anchors() {
  awk '/^ *(```|~~~)/ { code = !code; next } !code' "$1" | sed -n 's/^##* *//p' | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

check_elsewhere() {
  [[ "$2" =~ ^https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[^[:space:]]*)?$ ]] || complain "$1" "$2 is no whole https address"
}

count=0
while read -r file; do
  while read -r link; do
    count=$((count + 1))
    case "$link" in
      *://*) check_elsewhere "$file" "$link"; continue ;;
      mailto:*) complain "$file" "$link: nobody promises to read mail"; continue ;;
      # rustdoc checks these.
      crate::*) [[ $file == src/* ]] || complain "$file" "$link is a link of rustdoc"; continue ;;
    esac
    path=${link%%#*}
    target=$file
    [ -n "$path" ] && target=$(dirname "$file")/$path
    if [ ! -e "$target" ]; then
      complain "$file" "$link leads nowhere"
    elif [[ $link == *#* ]] && ! anchors "$target" | grep -qxF -- "${link#*#}"; then
      complain "$file" "$link: no such heading"
    fi
  done < <(prose "$file" | links)
done < <(git ls-files -- '*.md')

while read -r file; do
  while read -r link; do
    count=$((count + 1))
    check_elsewhere "$file" "$link"
  done < <(grep -oP '^\s*//[/!].*' "$file" | grep -oP '\]\(\K[a-z]+://[^)\s]*' || true)
done < <(git ls-files -- '*.rs')

# What becomes of requests without the store, row by row.
tests=0
while IFS=: read -r module _ name; do
  tests=$((tests + 1))
  grep -qs "^async fn $name()\|^fn $name()" "tests/redis/$module.rs" || complain src/shared_store/mod.rs "there is no test $module::$name"
done < <(grep '^//! ' src/shared_store/mod.rs | grep -oP '`\K[a-z]+::[a-z_]+(?=`)')
rows=$(sed -n '/^\/\/! | what happens | what clients see/,/^\/\/!$/p' src/shared_store/mod.rs | tail -n +3 | grep -c '^//! |')
named=$(sed -n '/^\/\/! | what happens | what clients see/,/^\/\/!$/p' src/shared_store/mod.rs | grep -cP '`[a-z]+::[a-z_]+` \|$')
[ "$rows" -eq "$named" ] && [ "$tests" -gt "$rows" ] || complain src/shared_store/mod.rs "$named of $rows rows name a test"

# A check that finds nothing to check holds nothing.
[ "$count" -gt 20 ] || complain tests/text.sh "only $count links were found"
[ $failed -eq 0 ] && echo "spelling of ${#texts[@]} files, $count links and $tests names of tests"
exit $failed
