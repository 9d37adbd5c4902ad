"""What a contract check says to people: each step's name, and what was seen, what is wanted, and how to fix it.

Rows keep codes and facts, so that everybody reads them in their own language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from gateway.services.contract import NAMES

TITLES = {
    "reach": gettext_lazy("Reach the endpoint"),
    "credential": gettext_lazy("Accept the credential"),
    "answer": gettext_lazy("Answer as the schema says"),
    "stream": gettext_lazy("Stream the same answer"),
    "error": gettext_lazy("Refuse what is wrong, in words"),
    "limits": gettext_lazy("Keep size and time"),
    "parallel": gettext_lazy("Hold ten requests at once"),
    "hang_up": gettext_lazy("Stop when the caller has gone"),
}

#: Of each step that can fail: what is wanted of the endpoint.
WANTED = {
    "reach": gettext_lazy(
        "An https address that is public, with a valid certificate, and that answers itself instead of redirecting."
    ),
    "credential": gettext_lazy("401 or 403 for a request without the secret and signature, 200 for one with them."),
    "answer": gettext_lazy("200 with JSON that fits the output schema, and usage where tokens are priced."),
    "stream": gettext_lazy("Server-sent events of the protocol, the usage before the end, and the event that ends it."),
    "error": gettext_lazy("400 or 422 with JSON that says in “error.message” what is wrong."),
    "limits": gettext_lazy("An answer below 500 to a large request, and the usual one within the endpoint's timeout."),
    "parallel": gettext_lazy("Ten good answers to ten requests at once."),
    "hang_up": gettext_lazy(
        "Work is dropped when the connection closes, so that the next caller does not wait for it."
    ),
}

#: Code -> what was seen.
SEEN = {
    "reached": gettext_lazy("TLS, a public address, no redirect; it answered with %(status)s."),
    "reached_in_clear": gettext_lazy(
        "Reached without TLS, as the operator of this site allows; it answered with %(status)s."
    ),
    "redirects": gettext_lazy("It answered with the redirect %(status)s. Redirects are not followed."),
    "credential_accepted": gettext_lazy("%(stranger)s without the credential, %(status)s with it."),
    "credential_refused": gettext_lazy("%(status)s with the credential that you gave, %(stranger)s without it."),
    "credential_ignored": gettext_lazy("%(status)s with the credential, and %(stranger)s without it, too."),
    "open_to_all": gettext_lazy("It answers anybody: %(stranger)s without a credential."),
    "no_good_answer": gettext_lazy("It answered an example of your own input with %(status)s."),
    "fits": gettext_lazy("The answer fits the output schema (%(bytes)s bytes)."),
    "fits_with_usage": gettext_lazy(
        "The answer fits the output schema, and reports %(input_tokens)s tokens in and %(output_tokens)s out."
    ),
    "answer_not_json": gettext_lazy("The answer is not JSON."),
    "answer_is_empty": gettext_lazy("The answer holds nothing."),
    "answer_unfit": gettext_lazy("The answer does not fit the output schema at %(pointer)s: %(detail)s"),
    "answer_without_usage": gettext_lazy("The answer has no “usage”. Without it tokens cannot be metered."),
    "does_not_stream": gettext_lazy("Models of this kind are not streamed."),
    "streams": gettext_lazy("First token after %(first_token_ms)s ms; the end reports %(output_tokens)s tokens."),
    "stream_status": gettext_lazy("The request for a stream was answered with %(status)s."),
    "stream_reports_error": gettext_lazy("The stream broke off with an error: %(reason)s"),
    "stream_is_empty": gettext_lazy("The stream held no text."),
    "stream_without_end": gettext_lazy("The stream ended without “%(ending)s”."),
    "stream_without_usage": gettext_lazy("The stream ended without usage. Without it tokens cannot be metered."),
    "refuses_in_words": gettext_lazy("A wrong request was refused with %(status)s, with a reason."),
    "error_status": gettext_lazy("A wrong request was answered with %(status)s."),
    "error_not_json": gettext_lazy("A wrong request was refused with %(status)s, but not in JSON."),
    "error_without_message": gettext_lazy("A wrong request was refused with %(status)s, without “error.message”."),
    "within_limits": gettext_lazy(
        "%(kib)s KiB were answered with %(status)s; the example took %(answer_ms)s ms of %(seconds)s s."
    ),
    "large_breaks": gettext_lazy("A request of %(kib)s KiB was answered with %(status)s."),
    "parallel_holds": gettext_lazy("All of %(all)s requests at once were answered well."),
    "parallel_fails": gettext_lazy("%(good)s of %(all)s requests at once were answered well; the others: %(reasons)s"),
    "stops": gettext_lazy("After %(left)s callers left, the next waited %(took_ms)s ms; %(usual_ms)s ms are usual."),
    "fails_after_hang_up": gettext_lazy("After %(left)s callers left, the next was answered with %(status)s."),
    "slow_after_hang_up": gettext_lazy(
        "After %(left)s callers left, the next waited %(took_ms)s ms; %(usual_ms)s ms are usual."
    ),
    "address_refused": gettext_lazy("%(reason)s"),
    "too_slow": gettext_lazy("%(reason)s"),
    "too_large": gettext_lazy("The answer is larger than what is read of one."),
    "wrong_type": gettext_lazy("%(reason)s"),
    "no_answer": gettext_lazy("%(reason)s"),
    "took_too_long": gettext_lazy("The whole check took more than %(seconds)s seconds."),
    "not_asked": gettext_lazy("Not run: the endpoint was not reached."),
}

#: Code -> how to fix it.
FIX = {
    "redirects": gettext_lazy("Give the address that the redirect leads to."),
    "credential_refused": gettext_lazy(
        "Look whether the secret is the one the endpoint expects, and comes in the header it reads. Without a secret, "
        "verify X-Agorai-Signature with the endpoint's signing key."
    ),
    "credential_ignored": gettext_lazy(
        "Refuse requests without the secret with 401. Now whoever finds the address can use the model for nothing."
    ),
    "open_to_all": gettext_lazy("Set a secret or verify X-Agorai-Signature, or calls can go around the site unpaid."),
    "no_good_answer": gettext_lazy(
        "Give an example that the endpoint takes in “examples” of the input schema, and look at what came back."
    ),
    "answer_not_json": gettext_lazy("Answer with JSON and the content type application/json."),
    "answer_is_empty": gettext_lazy("Answer with an output, or with an error if there is none."),
    "answer_unfit": gettext_lazy("Correct the answer, or the output schema in the first step."),
    "answer_without_usage": gettext_lazy("Add “usage” with the tokens in and out, or price by the call instead."),
    "stream_status": gettext_lazy("Answer “stream”: true with 200 and text/event-stream."),
    "stream_reports_error": gettext_lazy("Look into the endpoint's log for the error in the middle of the answer."),
    "stream_is_empty": gettext_lazy("Send the text as deltas while it is made."),
    "stream_without_end": gettext_lazy("Send the ending event before you close the connection."),
    "stream_without_usage": gettext_lazy("Return the usage in the last chunk; see %(option)s."),
    "error_status": gettext_lazy(
        "Check the request before the model runs, and refuse with 400 or 422 what does not fit."
    ),
    "error_not_json": gettext_lazy("Answer errors in JSON, with the content type application/json."),
    "error_without_message": gettext_lazy("Put the reason in words into “error.message”."),
    "large_breaks": gettext_lazy("Refuse what is too large with 413 before it is read to the end, or take it."),
    "parallel_fails": gettext_lazy("Queue requests that come together, or run more workers."),
    "fails_after_hang_up": gettext_lazy("Drop the work of a closed connection without bringing down the worker."),
    "slow_after_hang_up": gettext_lazy("Notice the closed connection and stop generating for it."),
    "address_refused": gettext_lazy("Use an https address whose name leads to public addresses alone."),
    "too_slow": gettext_lazy("Answer sooner, or give the endpoint a longer timeout in the step before."),
    "too_large": gettext_lazy("Answer with less at a time."),
    "wrong_type": gettext_lazy("Send the content type that the request asks for in its header Accept."),
    "no_answer": gettext_lazy("See that the server runs, that its name resolves, and that its certificate is valid."),
    "took_too_long": gettext_lazy("Answer sooner: a check is some twenty requests with short answers."),
}


OUTCOME_WORDS = {
    "waiting": gettext_lazy("Not run yet"),
    "passed": gettext_lazy("Passed"),
    "open": gettext_lazy("Passed, with a warning"),
    "failed": gettext_lazy("Failed"),
    "skipped": gettext_lazy("Not asked"),
}


@dataclass(frozen=True, slots=True)
class StepWords:
    """A step for people. outcome: as of `Step`, or "waiting". `wanted` and `fix` are empty where nothing is wrong."""

    name: str
    title: str
    outcome: str
    seen: str
    wanted: str
    fix: str
    milliseconds: int | None
    sent: str
    received: str


def words_of(step: Mapping[str, Any]) -> StepWords:
    """From the document that a row keeps."""
    name, outcome, code, facts = step["name"], step["outcome"], step["code"], step["facts"]
    is_wrong = outcome in ("failed", "open")
    return StepWords(
        name=name,
        title=str(TITLES[name]),
        outcome=outcome,
        seen=str(SEEN[code]) % facts,
        wanted=str(WANTED[name]) if is_wrong else "",
        fix=str(FIX[code]) % facts if is_wrong and code in FIX else "",
        milliseconds=step["milliseconds"],
        sent=step["sent"],
        received=step["received"],
    )


def steps_of(taken: Iterable[Mapping[str, Any]]) -> list[StepWords]:
    """All eight, from the documents of those that were taken."""
    found = {step["name"]: words_of(step) for step in taken}
    return [found.get(name) or waiting(name) for name in NAMES]


def waiting(name: str) -> StepWords:
    """A step that was not taken yet."""
    return StepWords(name, str(TITLES[name]), "waiting", _("Not run yet"), "", "", None, "", "")
