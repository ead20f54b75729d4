# shellcheck shell=bash disable=SC2154,SC2034
# Probes of what watches the stack: rules, scraping, the panels of the dashboard. Sourced by run.sh.

prometheus() { compose exec --no-TTY prometheus /bin/promtool "$@"; }
query() { prometheus query instant --format=json http://127.0.0.1:9090 "$1"; }
rules_are_valid() { promtool check rules "$example/prometheus/rules.yml"; }
rules_pass_their_tests() { (cd "$example/prometheus" && promtool test rules rules_test.yml); }
# A test that never sees an alert would pass on a rule that never fires.
every_alert_is_seen_firing() {
  local alert
  for alert in $(grep --only-matching --perl-regexp 'alert: \K.*' "$example/prometheus/rules.yml"); do
    grep --after-context 1 --fixed-strings "alertname: $alert" "$example/prometheus/rules_test.yml" | grep --quiet 'exp_alerts:$' ||
      { echo "$alert is never seen firing"; return 1; }
  done
}
# The tests of the rules must notice each alert that has become deaf.
rules_pass_though_deaf() {
  local deaf=$work/deaf
  mkdir -p "$deaf"
  cp "$example/prometheus/rules_test.yml" "$deaf/"
  awk -v alert="$1" '
    $1 == "-" && $2 == "alert:" { on = $3 == alert }
    on && $1 == "expr:" { print "        expr: vector(0) > 1"; silent = 1; next }
    silent && /^        [a-z]+:/ { silent = on = 0 }
    !silent' "$example/prometheus/rules.yml" >"$deaf/rules.yml"
  promtool check rules "$deaf/rules.yml" >/dev/null || return 0
  (cd "$deaf" && promtool test rules rules_test.yml)
}
no_alert_may_be_deaf() {
  local alert
  for alert in $(grep --only-matching --perl-regexp 'alert: \K.*' "$example/prometheus/rules.yml"); do
    refuses rules_pass_though_deaf "$alert" >/dev/null || { echo "the tests do not notice that $alert never fires"; return 1; }
  done
}
rules_are_loaded() { prometheus query instant http://127.0.0.1:9090 'count(ALERTS) or vector(0)' && prometheus check rules /etc/prometheus/rules.yml; }
both_instances_are_scraped() { is 2 "$(query 'sum(up{job="api"})' | jq --raw-output '.[0].value[1]')"; }
panels() { jq --raw-output '.panels[] | .title as $t | .targets[] | "\($t)\t\(.expr)"' "$example/grafana/dashboards/palisade.json"; }
panel_shows_something() { [ "$(query "$1" | jq 'length')" -gt 0 ] || { echo "no data: $1"; return 1; }; }

days_left() { query '(probe_ssl_earliest_cert_expiry - time()) / 86400' | jq --raw-output '.[0].value[1] | tonumber | floor'; }
certificate_is_watched() { [ "$(days_left)" -ge 80 ] && [ "$(days_left)" -le 90 ]; }

# The program and the settings of examples/api/logging, with the paths of this engine and a server that takes bulk requests. The server
# comes late: what the services say until then has to wait, and to arrive.
logs_arrive_at_elasticsearch() {
  local containers spool=$work/spool server shipper status=0
  containers=$(dirname "$(dirname "$(docker inspect --format '{{.LogPath}}' "$(container nginx)")")")
  mkdir -p "$spool"
  sed "s|/var/lib/docker/containers|$containers|; s|/var/spool/rsyslog|$spool|; s|serverport=\"9200\"|serverport=\"18200\"|" \
    "$example/logging/rsyslog.conf" >"$work/rsyslog.conf"
  rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" >"$work/rsyslog.log" 2>&1 &
  shipper=$!
  eventually 10 test -s "$work/rsyslog.pid" || status=1
  edge_status /whoami >/dev/null
  # Without a key: an event of the service itself.
  is 401 "$(curl --silent --output /dev/null --write-out '%{http_code}' --cacert "$work/secrets/tls.crt" --header 'authorization: Bearer api_wrong' \
    "https://localhost:$https_port/whoami")" || status=1
  python3 "$here/bulk.py" 18200 "$work/documents" &
  server=$!
  eventually 40 grep --quiet '"event.dataset": "nginx.access"' "$work/documents" || { cat "$work/rsyslog.log"; status=1; }
  eventually 20 document_tells_the_refusal || status=1
  # Nothing but the services' own objects, in the schema, each with an identity of its own, and taken.
  jq --slurp --exit-status 'length > 0 and all(.[]; .fault == null and (.action.create._id | length) > 0 and (.document
      | (.["ecs.version"] // .ecs.version) != null and (.["log.level"] // .log.level) != null and (.stream == null)))
    and ([.[].action.create._id] | length == (unique | length))' "$work/documents" >/dev/null ||
    { jq --compact-output 'select(.fault != null or ((.document["ecs.version"] // .document.ecs.version) == null))' "$work/documents" | head -n 3; status=1; }
  kill "$shipper" "$server"
  wait "$shipper" "$server" 2>/dev/null
  return "$status"
}
document_tells_the_refusal() {
  jq --slurp --exit-status 'any(.[].document; (.["event.action"] // .event.action?) == "api_key_rejected")' "$work/documents" >/dev/null ||
    { tail -n 3 "$work/documents"; return 1; }
}

probe_monitoring() {
  check monitoring-rules-are-valid rules_are_valid
  check monitoring-rules-pass-their-tests rules_pass_their_tests
  check monitoring-every-alert-is-seen-firing every_alert_is_seen_firing
  check control-monitoring-rules no_alert_may_be_deaf
  check monitoring-stack-is-up stack_up || return 0
  check monitoring-rules-are-loaded rules_are_loaded
  check monitoring-certificate-is-watched eventually 40 certificate_is_watched
  if [ "$(id -u)" -ne 0 ]; then
    skip logs-arrive-at-elasticsearch "only root can read the engine's files"
  elif ! debian_packages rsyslogd:rsyslog /usr/lib/x86_64-linux-gnu/rsyslog/omelasticsearch.so:rsyslog-elasticsearch; then
    skip logs-arrive-at-elasticsearch "$cannot"
  else
    check logs-arrive-at-elasticsearch logs_arrive_at_elasticsearch
  fi
  edge_status "/whoami?[1-100]" >/dev/null
  check monitoring-both-instances-are-scraped eventually 30 both_instances_are_scraped
  local title expression number=0
  while IFS=$'\t' read -r title expression <&3; do
    number=$((number + 1))
    check "monitoring-panel-$number-shows-something" eventually 30 panel_shows_something "$expression" "$title"
  done 3< <(panels)
}
