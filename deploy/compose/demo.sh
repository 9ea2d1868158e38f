#!/bin/bash
# demo.sh: three containers, the primary cut off from the others by the host's
# firewall, and what the application's clients see of it; `make docker-demo` builds
# the image first. It leaves nothing behind. Needs root, or whatever else may call
# iptables, and `docker compose` or docker-compose.
set -euo pipefail
cd "$(dirname "$0")"
export COMPOSE_PROJECT_NAME=litefence-demo # not the volumes of a cluster of yours
if docker compose version >/dev/null 2>&1; then compose() { docker compose "$@"; }; else compose() { docker-compose "$@"; }; fi
command -v iptables >/dev/null || PATH=$PATH:/usr/sbin
command -v iptables >/dev/null || { echo "demo.sh: iptables is missing" >&2; exit 1; }

say() { printf '\n%s\n' "$*"; }
began() { t0=$(date +%s%N); }
since() { printf '%d.%01d s' $((($(date +%s%N) - t0) / 1000000000)) $((($(date +%s%N) - t0) / 100000000 % 10)); }
# until_ SECONDS COMMAND...: waits for the condition.
until_() {
  local end=$((SECONDS + $1)); shift
  until "$@"; do
    ((SECONDS < end)) || { echo "demo.sh: not in time: $*" >&2; return 1; }
    sleep 0.1
  done
}
place() { echo "127.0.0.1:808${1#n}"; }
post() { curl -sS -m 5 -o /dev/null -w '%{http_code}' -d "$2" "$(place "$1")/notes" 2>/dev/null || true; }
show() { echo "\$ curl -d '$2' $(place "$1")/notes"; curl -sS -m 10 -w '%{http_code}\n' -d "$2" "$(place "$1")/notes" || true; }
notes() { curl -sS -m 5 "$(place "$1")/notes" 2>/dev/null | grep -o '"text":"[^"]*"' || true; }
# primary NODE...: the one of them whose gate is open.
primary() {
  for n; do
    if curl -sS -m 2 "127.0.0.1:2028${n#n}/health/ready" 2>/dev/null | grep -q '"can_accept_writes":true'; then echo "$n"; return; fi
  done
  return 1
}
has_primary() { primary "$@" >/dev/null; }
agree() { [ -n "$(notes n1)" ] && [ "$(notes n1)" = "$(notes n2)" ] && [ "$(notes n1)" = "$(notes n3)" ]; }

ip=
# The first chain of the host's that all traffic of containers passes, also between
# two on one bridge (where br_netfilter is loaded, as Docker does).
cut() { iptables -I DOCKER-USER -s "$ip" -j DROP; iptables -I DOCKER-USER -d "$ip" -j DROP; }
heal() {
  [ -z "$ip" ] || { iptables -D DOCKER-USER -s "$ip" -j DROP; iptables -D DOCKER-USER -d "$ip" -j DROP; } 2>/dev/null || true
  ip=
}
trap 'code=$?; heal; [ "$code" = 0 ] || compose logs --tail 20 || true; compose down -v >/dev/null 2>&1' EXIT

say "Three containers start."
began
compose up -d >/dev/null 2>&1 || compose up -d
until_ 60 has_primary n1 n2 n3
p=$(primary n1 n2 n3)
echo "$p is primary, $(since) after the command."
show "$p" "written before"
until_ 20 agree
echo "All three have it."

others=$(echo n1 n2 n3 | tr ' ' '\n' | grep -v "$p" | xargs)
say "$p is cut off from $others: the host drops its packets, without a word to anybody."
ip=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(compose ps -q "$p")")
echo "\$ iptables -I DOCKER-USER -s $ip -j DROP; iptables -I DOCKER-USER -d $ip -j DROP"
cut
began
sent=0
refuses() { # until then it may acknowledge notes, for as long as its lease lasts
  case $(post "$p" "late $sent") in
  201) sent=$((sent + 1)); return 1 ;;
  503) ;;
  *) return 1 ;;
  esac
}
until_ 20 refuses
echo "$p refuses, $(since) after the cut (and acknowledged $sent more before, on the rest of its lease):"
show "$p" "written by a stale primary"
until_ 20 has_primary $others
q=$(primary $others)
echo "$q is primary, $(since) after the cut:"
show "$q" "written meanwhile"

say "The link is healed."
heal
began
until_ 60 agree
echo "All three agree, $(since) after:"
notes n1 | sed 's/^/  /'
notes n1 | grep -q '"text":"written meanwhile"'
! notes n1 | grep -q "stale primary"
echo "Of the $sent that $p acknowledged in the rest of its lease, $(notes n1 | grep -c '"text":"late' || true) are left: LiteFS replicates"
echo "asynchronously. docs/data-loss.md says what that means, and how to know of it."
say "Taken down."
