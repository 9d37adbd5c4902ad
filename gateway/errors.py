"""What can go wrong with a call, before, at and after the upstream."""

from common.problems import Problem


class ModelNotFound(Problem):
    code, status, title = "model_not_found", 404, "Model not found"
    explanation = "No model of this name is published here, or your organization may not see it."
    fix = "Take the name from `GET /v1/models` or from the model's page: `publisher/name`."


class ModelNotCallable(Problem):
    code, status, title = "model_not_callable", 409, "This model cannot be called"
    explanation = "The listing has no endpoint behind it at the moment."
    fix = "Choose another model, or ask the publisher to connect an endpoint."


class NoEndpoint(Problem):
    code, status, title = "no_endpoint", 409, "There is no endpoint to check"
    explanation = "The contract check asks the model's endpoint, and none was set yet."
    fix = "Set one with `PUT /api/models/{id}/endpoint`, then ask again."


class DeploymentPaused(Problem):
    code, status, title = "deployment_paused", 409, "This deployment is paused"
    explanation = "The organization paused the deployment behind this name, so nothing is called by it."
    fix = "Set its status to `active`, or call the model by its own name."


class ModelNotAllowed(Problem):
    code, status, title = "model_not_allowed", 403, "The key is not for this model"
    explanation = "This API key is limited to certain models, and this one is not among them."
    fix = "Add the model to the key's allowed models, or use another key."


class NotForTestKeys(Problem):
    code, status, title = "test_mode_not_enabled", 403, "Not open to test keys"
    explanation = "The publisher has not opened this model to keys in test mode."
    fix = "Call it with a live key."


class WrongProtocol(Problem):
    code, status, title = "wrong_protocol", 422, "This model speaks another protocol"
    explanation = "The model behind this name is not called at this address."
    fix = "Call it at the address named in `fix_url`."


class InsufficientCredit(Problem):
    code, status, title = "insufficient_credit", 402, "Not enough credit"
    explanation = "The organization's credit does not cover what this call may cost."
    fix = "Add credit, or lower what the call may cost, for instance with `max_tokens`."


class SpendLimitReached(Problem):
    code, status, title = "spend_limit_reached", 402, "Spend limit reached"
    explanation = "What this call may cost does not fit into what is left of a spend limit."
    fix = "Raise the limit named in `limit_source`, wait until it resets, or lower what the call may cost."


class SubscriptionRequired(Problem):
    code, status, title = "subscription_required", 402, "Subscription required"
    explanation = "This model is sold by subscription, and the organization has none."
    fix = "Subscribe to the model on its page."


class UpstreamFailed(Problem):
    code, status, title, retry = "upstream_error", 502, "The model's endpoint failed", "now"
    explanation = "The publisher's endpoint could not be reached, or answered with an error. Nothing was charged."
    fix = "Try again; if it goes on, report the request id to the publisher."


class UpstreamInvalidOutput(Problem):
    code, status, title, retry = "upstream_invalid_output", 502, "The model's answer does not fit its schema", "now"
    explanation = "The publisher's endpoint answered with something other than the model promises. Nothing was charged."
    fix = "Try again; if it goes on, report the request id to the publisher."


class UpstreamRejected(Problem):
    code, status, title = "upstream_rejected", 422, "The model's endpoint rejected the input"
    explanation = "The publisher's endpoint understood the request and refused it. Nothing was charged."
    fix = "Read `upstream_message`, correct the input and send it again."


class UpstreamTimeout(Problem):
    code, status, title, retry = "upstream_timeout", 504, "The model's endpoint took too long", "now"
    explanation = "The publisher's endpoint did not answer within its time. Nothing was charged."
    fix = "Try again, ask for less output, or stream the answer."


class GatewayElsewhere(Problem):
    code, status, title = "gateway_elsewhere", 421, "This process does not serve the gateway"
    explanation = "Calls of models are answered by the gateway process, and this request reached another one."
    fix = "The operator's front proxy must send this path to the gateway; see the installation guide."


class ReceiptNotFound(Problem):
    code, status, title = "receipt_not_found", 404, "No such request"
    explanation = "No call with this id was made with your credentials."
    fix = "Take the id from the answer's `x-request-id` header; a receipt can be read with the key that made the call."


class ClientLeft(Problem):
    code, status, title = "client_left", 499, "The caller left"
    explanation = "The caller closed the connection before anything of the answer was there. Nothing was charged."
    fix = "Send the call again, and wait longer for its answer."


class EndpointRefused(Problem):
    code, status, title = "endpoint_refused", 422, "This address cannot be an endpoint"
    explanation = (
        "Calls go to public addresses over HTTPS; this one is not, or is written in a form that is not accepted."
    )
    fix = "Give the https:// address under which the whole internet reaches the endpoint."


class GatewayStopped(Problem):
    code, status, title, retry = "gateway_stopped", 503, "The gateway was restarted", "after"
    explanation = "The gateway ended before the call did. What had been delivered by then is on its receipt."
    fix = "Send the call again, as late as `Retry-After` says."


class MoneyUnavailable(Problem):
    code, status, title, retry = "ledger_unavailable", 503, "The ledger is not available", "after"
    explanation = "A call is made only when it can be reserved and settled, and the database did not answer."
    fix = "Try again as late as `Retry-After` says; nothing was charged."


class PredictionNotFound(Problem):
    code, status, title = "prediction_not_found", 404, "No such prediction"
    explanation = "No prediction with this id was made with your credentials."
    fix = "Take the id from the answer of `POST /v1/predictions`; a prediction is read with the key that made it."


class PredictionExpired(Problem):
    code, status, title = "prediction_expired", 410, "The prediction is no longer kept"
    explanation = "What was sent and what came back are kept for a while after the end, and then erased."
    fix = "Read a prediction in time, or have it sent to a webhook. Its receipt stays."


class PredictionEnded(Problem):
    code, status, title = "prediction_ended", 409, "The prediction has ended"
    explanation = "It ended before it could be canceled."
    fix = "Read it: its output or its error is there."


class PredictionsFull(Problem):
    code, status, title, retry = "predictions_full", 429, "Too many predictions at once", "after"
    explanation = "The organization has as many predictions waiting and running as it may have."
    fix = "Wait until some have ended, as late as `Retry-After` says."


class PredictionLate(Problem):
    code, status, title, retry = "prediction_late", 504, "The prediction was not done in time", "now"
    explanation = "The time that the prediction was given is over. Nothing was charged."
    fix = "Try again, or give it more time with `deadline_seconds`."


class PredictionCanceled(Problem):
    code, status, title = "prediction_canceled", 409, "The prediction was canceled"
    explanation = "It was canceled before it was done. Nothing was charged."
    fix = "Make it again, if it is wanted after all."


class ConfirmationNotSigned(Problem):
    code, status, title = "confirmation_not_signed", 401, "The confirmation is not signed by the call's publisher"
    explanation = (
        "A confirmation of usage names a call and is signed with the secret of the endpoint that it went to, lately."
    )
    fix = "Sign `<t>.<request id>.<body>` with the endpoint's `signing_secret`: the body as it is sent, `t` as of now."


class UpstreamBusy(Problem):
    code, status, title, retry = "upstream_busy", 503, "The model's endpoint is busy", "after"
    explanation = "The publisher's endpoint takes no more calls at the moment. Nothing was charged."
    fix = "Try again as late as `Retry-After` says."


#: What a call may end with once its caller is known.
CALL_PROBLEMS: tuple[type[Problem], ...] = (
    InsufficientCredit,
    SpendLimitReached,
    SubscriptionRequired,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotCallable,
    DeploymentPaused,
    UpstreamRejected,
    UpstreamFailed,
    UpstreamInvalidOutput,
    UpstreamBusy,
    UpstreamTimeout,
)
