#!/usr/bin/env bash
# The main job with curl alone. Usage: job.sh http://127.0.0.1:8080
set -euo pipefail
router=$1
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)'"$1"')'; }
post() { curl -sS --fail-with-body -X POST "$@"; }

agent=$(curl -sS "$router/agents" | field '["agents"][0]["uid"]')
job=$router$(post "$router/jobs/create" -d "{\"agent\": {\"type\": \"uid\", \"uid\": \"$agent\"}, \"name\": \"curl\"}" | field '["path"]')
trap 'post "$job/remove" >/dev/null' EXIT

echo '<h1>hello</h1>' | post "$job/file/index.html" -H 'Content-Type: application/octet-stream' --data-binary @- >/dev/null
post "$job/start" -d '{"args": ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"], "port": {"mode": "assign"}}' >/dev/null
echo "the job serves: $(curl -sS "$job/http/index.html")"
post "$job/stop" >/dev/null
echo "it ended: $(post "$job/wait" | field '["reason"]')"
echo "it said: $(curl -sS "$job/output?tail=1")"
