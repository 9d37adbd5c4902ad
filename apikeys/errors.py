"""What can be wrong with a key, and with a wish to change one."""

from common.problems import Problem


class KeyMalformed(Problem):
    code, status, title = "key_malformed", 401, "Malformed API key"
    explanation = "This is not an API key: its length, its characters or its checksum are wrong."
    fix = "Copy the whole key, from `agr_` to its last character, without spaces or quotes."


class KeyUnknown(Problem):
    code, status, title = "key_unknown", 401, "Unknown API key"
    explanation = "The key is well-formed, but was not issued by this site."
    fix = "Check that the key belongs to this site, or make a new one."


class KeyRevoked(Problem):
    code, status, title = "key_revoked", 401, "API key revoked"
    explanation = "The key was revoked, or its secret was replaced by a rotation."
    fix = "Use the new secret, or make another key."


class KeyExpired(Problem):
    code, status, title = "key_expired", 401, "API key expired"
    explanation = "The date until which the key was valid has passed."
    fix = "Make another key, or extend this one before it expires next time."


class IPNotAllowed(Problem):
    code, status, title = "ip_not_allowed", 403, "The key is not for this address"
    explanation = "The key may be used from certain network addresses only, and this request came from another one."
    fix = "Send the request from one of the key's allowed addresses, or add this one to them."


class KeyNotActive(Problem):
    code, status, title = "key_not_active", 409, "The key is no longer active"
    explanation = "A revoked or expired key cannot be rotated, and a revoked one cannot be changed."
    fix = "Make another key."


class KeyTooWide(Problem):
    code, status, title = "key_too_wide", 403, "A key cannot grant more than it has"
    explanation = "A key may make, change or rotate only keys that are no wider than itself."
    fix = "Ask for less, or do this signed in instead of with a key."


class ReportNotSigned(Problem):
    code, status, title = "report_not_signed", 401, "The report is not signed by a partner"
    explanation = "Reports of leaked keys are taken from partners of this site alone, which sign them."
    fix = "Sign the body as it is sent, with the key that this site knows by the identifier in the header."


class ReportReplayed(Problem):
    code, status, title = "report_replayed", 409, "The report was received before"
    explanation = "A report of leaked keys counts once. Nothing happened this time."
    fix = "Send nothing; the first report was taken."
