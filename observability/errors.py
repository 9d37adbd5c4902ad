"""What can go wrong with a request that is sent under an idempotency key."""

from common.problems import Problem


class IdempotencyKeyInvalid(Problem):
    code, status, title = "idempotency_key_invalid", 400, "This is no idempotency key"
    explanation = (
        "The header `Idempotency-Key` holds 1 to 255 visible ASCII characters without spaces, and stands once."
    )
    fix = "Send a fresh UUID for each request that is to happen once, and the same one when you repeat it."


class IdempotencyKeyReused(Problem):
    code, status, title = "idempotency_key_reused", 422, "The idempotency key belongs to another request"
    explanation = (
        "Within the past 24 hours your organization sent another request under this key: to another address, with "
        "another body or in another mode. Nothing was done and nothing was charged."
    )
    fix = "Repeat the request byte for byte, or send a new one under a new key."


class IdempotentRequestRunning(Problem):
    code, status, title, retry = "idempotent_request_running", 409, "The first request is still running", "after"
    explanation = "A request under this idempotency key has not ended yet. Its answer will be given to a repeat."
    fix = "Repeat the request as late as `Retry-After` says."


class IdempotentAnswerNotKept(Problem):
    code, status, title = "idempotent_answer_not_kept", 422, "The answer was not kept"
    explanation = (
        "The request under this idempotency key was done, and its receipt says what it cost, but its answer is not "
        "there any more: it was too large to be kept, or the service was interrupted in that moment. "
        "It is not done a second time."
    )
    fix = "Look at the receipt named in `original_request_id`; to have it done again, send it under a new key."
