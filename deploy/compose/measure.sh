#!/bin/bash
# measure.sh: the image's size, how long three new containers take until one is
# writable, and their memory, idle and under load (curl posts notes, eight at a
# time, for SECONDS_OF_LOAD). It leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")"
export COMPOSE_PROJECT_NAME=litefence-measure
if docker compose version >/dev/null 2>&1; then compose() { docker compose "$@"; }; else compose() { docker-compose "$@"; }; fi
trap 'compose down -v >/dev/null 2>&1' EXIT
now() { date +%s%N; }
ms() { echo $((($(now) - $1) / 1000000)) ms; }
primary() {
  for n in 1 2 3; do
    if curl -sS -m 2 "127.0.0.1:2028$n/health/ready" 2>/dev/null | grep -q '"can_accept_writes":true'; then echo "$n"; return; fi
  done
  return 1
}
await() { until primary >/dev/null; do sleep 0.02; done; }

echo "image: $(docker image inspect -f '{{.Size}}' litefence:dev | awk '{ printf "%.0f MB", $1 / 1e6 }'), of it litefence $(docker run --rm --entrypoint stat litefence:dev -c %s /usr/local/bin/litefence | awk '{ printf "%.0f", $1 / 1e6 }'), LiteFS $(docker run --rm --entrypoint stat litefence:dev -c %s /usr/local/bin/litefs | awk '{ printf "%.0f", $1 / 1e6 }')"

compose up certificates >/dev/null 2>&1
compose up -d >/dev/null 2>&1
await
ids=$(compose ps -q n1 n2 n3)
for what in new again again again; do
  docker stop -t 20 $ids >/dev/null
  [ "$what" = again ] || for id in $ids; do docker run --rm --volumes-from "$id" --entrypoint sh litefence:dev -c 'rm -rf /data/*/*'; done
  t=$(now)
  docker start $ids >/dev/null
  t2=$(now)
  await
  echo "start, $what: one is writable $(ms "$t") after docker start of the three, $(ms "$t2") after it has started the last"
done

memory() { # of every process in the container that matters, MB: resident, of it its own
  docker exec "$1" sh -c 'for p in /proc/[0-9]*; do
    c=$(tr "\0" " " <$p/cmdline 2>/dev/null)
    case $c in "sh -c "*) continue ;; "litefence run"*|*" prober "*|"litefs mount"*|notes*) ;; *) continue ;; esac
    [ "${p#/proc/}" != 1 ] || c="(process 1) $c"
    awk -v c="$c" "/^VmRSS/ { r = \$2 } /^RssAnon/ { a = \$2 } END { printf \"  %5.1f %5.1f  %s\n\", r / 1024, a / 1024, c }" $p/status
  done'
}
p=$(primary)
id=$(compose ps -q "n$p")
sleep 10
echo "memory in MB (resident, of it anonymous), n$p, the primary, idle:"
memory "$id"
s=${SECONDS_OF_LOAD:-20}
end=$((SECONDS + s))
load() { while ((SECONDS < end)); do curl -sS -o /dev/null -d "some note of some length $RANDOM" "127.0.0.1:808$p/notes"; done; }
for _ in 1 2 3 4 5 6 7 8; do load & done
sleep $((s - 2))
echo "memory under load:"
memory "$id"
r=$((p % 3 + 1))
echo "memory of a replica, n$r, under the same load:"
memory "$(compose ps -q "n$r")"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.CPUPerc}}' $ids
wait
echo "notes: $(curl -sS "127.0.0.1:808$p/notes" | grep -o '"id"' | wc -l) in $s s"
