#!/usr/bin/env bash
# From nothing to a paid-for call, with curl alone: sign up, read the code from the mail folder, log in, make a key,
# look around, call a model, read the receipt and the usage.
#
#   examples/quickstart.sh [address of the site] [its mail folder]
#
# or AGORAI_URL and AGORAI_MAIL_DIR in the environment. Ends with 0 if every step did what it should.
set -euo pipefail

URL=${1:-${AGORAI_URL:-http://localhost:8000}}
URL=${URL%/}
MAIL_DIR=${2:-${AGORAI_MAIL_DIR:-var/mail}}
MAIL_SECONDS=20 USAGE_SECONDS=5

EMAIL="newcomer-$(date +%s)-$RANDOM@example.org"
PASSWORD="quick-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
TOKEN='' STEP=0

step() {
  STEP=$((STEP + 1))
  printf '\n%d. %s\n' "$STEP" "$1"
}

fail() {
  printf '\nFAILED at step %d: %s\n' "$STEP" "$1" >&2
  exit 1
}

# call STATUS METHOD PATH [JSON]: the answer's body is in $BODY, its headers in $WORK/headers.
call() {
  local wanted=$1 method=$2 path=$3 json=${4-} status
  local request=(--silent --show-error --max-time 30 --request "$method" --dump-header "$WORK/headers"
    --output "$WORK/body" --write-out '%{http_code}')
  [[ -z $TOKEN ]] || request+=(--header "Authorization: Bearer $TOKEN")
  [[ -z $json ]] || request+=(--header 'Content-Type: application/json' --data "$json")
  : >"$WORK/body"
  printf '   %s %s\n' "$method" "$path"
  status=$(curl "${request[@]}" "$URL$path") || fail "$URL does not answer. Is it running?"
  BODY=$(cat "$WORK/body")
  [[ $status == "$wanted" ]] || fail "$method $path answered $status instead of $wanted:
$BODY"
}

# field NAME: the first string of that name in $BODY.
field() {
  local found
  found=$(grep -oE "\"$1\" *: *\"[^\"]*\"" <<<"$BODY" | sed -n 1p | sed -E 's/^"[^"]*" *: *"(.*)"$/\1/')
  [[ -n $found ]] || fail "the answer has no \"$1\":
$BODY"
  printf '%s' "$found"
}

header() {
  tr -d '\r' <"$WORK/headers" | sed -n "s/^$1: *//Ip" | tail -n 1
}

# The newest mail to $EMAIL; of its text part the line that is nothing but a code.
code_from_mail() {
  local newest
  newest=$(grep -lisF "To: $EMAIL" "$MAIL_DIR"/*.eml 2>/dev/null | sort | tail -n 1) || true
  [[ -n $newest ]] || return 0
  tr -d '\r' <"$newest" | sed -n '/^Content-Type: text\/plain/I,/^Content-Type: text\/html/Ip' |
    grep -xE '[A-Z0-9]{6,8}' | sed -n 1p || true
}

printf 'Agorai at %s, mail in %s\n' "$URL" "$MAIL_DIR"

step "Sign up as $EMAIL"
call 202 POST /api/auth/register "{\"email\": \"$EMAIL\", \"password\": \"$PASSWORD\", \"name\": \"New Comer\"}"
ANSWER=$(field status)
printf '   %s\n' "$ANSWER"

step "Read the code from the mail"
deadline=$((SECONDS + MAIL_SECONDS)) CODE=''
until CODE=$(code_from_mail) && [[ -n $CODE ]]; do
  ((SECONDS < deadline)) || fail "no mail with a code for $EMAIL in $MAIL_DIR within $MAIL_SECONDS s"
  sleep 0.2
done
printf '   The code is %s\n' "$CODE"

step "Verify the address"
call 200 POST /api/auth/verify-email "{\"email\": \"$EMAIL\", \"code\": \"$CODE\"}"

step "Log in"
call 200 POST /api/auth/login "{\"email\": \"$EMAIL\", \"password\": \"$PASSWORD\"}"
TOKEN=$(field access)
call 200 GET /api/auth/me
WHO=$(field email)
[[ $WHO == "$EMAIL" ]] || fail "this is somebody else"

step "Make an API key"
call 201 POST /api/keys '{"name": "Quickstart"}'
KEY=$(field key)
printf '   The key is %s… and is never shown again\n' "${KEY:0:16}"

step "List models"
ACCESS=$TOKEN TOKEN=''
call 200 GET '/api/models?limit=100'
grep -oE '"slug" *: *"[^"/]+/[^"]+"' <<<"$BODY" | sed -E 's/.*"([^"]+)"$/   - \1/'

step "Search for sentiment"
call 200 GET '/api/models?q=sentiment'
FIRST=$(grep -oE '"slug" *: *"[^"/]+/[^"]+"' <<<"$BODY" | sed -n 1p | sed -E 's/.*"([^"]+)"$/\1/')
[[ $FIRST == demo/sentiment ]] || fail "the first model found is “$FIRST”, not demo/sentiment"
printf '   Found %s\n' "$FIRST"

step "Call it"
TOKEN=$KEY
call 200 POST /api/models/demo:sentiment/invoke '{"text": "I love how simple this is!"}'
printf '   %s\n' "$BODY"
LABEL=$(field label)
[[ $LABEL == positive ]] || fail "that text is positive, not $LABEL"
REQUEST=$(header x-request-id)
[[ -n $REQUEST ]] || fail "the answer has no x-request-id"
printf '   Request %s cost %s USD\n' "$REQUEST" "$(header x-cost-usd)"

step "Read the receipt"
call 200 GET "/v1/requests/$REQUEST"
printf '   %s\n' "$BODY"
RECEIPT=$(field id)
[[ $RECEIPT == "$REQUEST" ]] || fail "this is another call's receipt"

step "See it in the usage"
TOKEN=$ACCESS
deadline=$((SECONDS + USAGE_SECONDS))
while :; do
  call 200 GET '/api/analytics/usage?granularity=total'
  CALLS=$(grep -oE '"totals" *: *\{.*' <<<"$BODY" | grep -oE '"calls" *: *[0-9]+' | sed -n 1p | grep -oE '[0-9]+' || true)
  [[ ${CALLS:-0} -lt 1 ]] || break
  ((SECONDS <= deadline)) || fail "the call is not in the usage after $USAGE_SECONDS s:
$BODY"
  sleep 0.5
done
printf '   Calls so far: %s\n' "$CALLS"

printf '\nAll %d steps passed.\n' "$STEP"
