#!/bin/sh
# A room by curl, beside `zchat web`:   sh examples/web/curl.sh [HOST:PORT]
set -eu
room=http://${1:-127.0.0.1:8080}/scripts

curl -sS -d hello "$room?user=deploy" # who says what
curl -sS -d 'done' -H "Idempotency-Key: $(date +%s)" "$room?user=deploy" >/dev/null # stored once, however often it is sent
curl -sS "$room/json?last=2&poll=1" # without poll=1 it goes on with what comes
