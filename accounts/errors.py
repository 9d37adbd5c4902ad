"""What signing up, signing in and organizations may answer."""

from common.problems import Problem


class LoginFailed(Problem):
    code, status, title = "login_failed", 401, "Wrong e-mail address or password"
    explanation = "The e-mail address and the password do not belong together, or there is no such account."
    fix = "Check both, or ask for a new password with `POST /api/auth/password/reset`."


class MFARequired(Problem):
    code, status, title = "mfa_required", 401, "A second factor is needed"
    explanation = "The password is right; this account also asks for a code from an authenticator app."
    fix = "Send the same request with the code of the moment, or a recovery code, in `code`."


class MFAInvalid(Problem):
    code, status, title = "mfa_invalid", 401, "Wrong second factor"
    explanation = "The code of the second factor is wrong, expired or was used already."
    fix = "Send the code that the authenticator app shows now, or an unused recovery code."


class EmailNotVerified(Problem):
    code, status, title = "email_not_verified", 403, "The e-mail address is not verified"
    explanation = "The password is right, but nobody has proved yet that the e-mail address is theirs."
    fix = "Send the code that was mailed just now to `POST /api/auth/verify-email`."


class CodeInvalid(Problem):
    code, status, title = "code_invalid", 422, "Wrong or expired code"
    explanation = "The code does not belong to this address, is older than 15 minutes, or was tried too often."
    fix = "Use the code in the newest mail; sign up or log in again to receive another one."


class ResetTokenInvalid(Problem):
    code, status, title = "reset_token_invalid", 422, "Wrong or expired reset link"
    explanation = "The token is not one that was mailed within the last hour, or it was used already."
    fix = "Ask for another one with `POST /api/auth/password/reset`."


class TokenExpired(Problem):
    code, status, title = "token_expired", 401, "The access token has expired"
    explanation = "Access tokens live for five minutes, and this one's time is over."
    fix = "Get a new pair with `POST /api/auth/refresh`."


class TokenInvalid(Problem):
    code, status, title = "token_invalid", 401, "The access token is not valid"
    explanation = "The access token was not made here, was changed, or was ended by a logout or a new password."
    fix = "Log in again."


class RefreshTokenInvalid(Problem):
    code, status, title = "refresh_token_invalid", 401, "The refresh token is not valid"
    explanation = "The refresh token is unknown, expired, or was ended by a logout or a new password."
    fix = "Log in again."


class RefreshTokenReused(Problem):
    code, status, title = "refresh_token_reused", 401, "The refresh token was used before"
    explanation = "A refresh token works once. A second use means that two hold it, so this sign-in was ended for both."
    fix = "Log in again, and keep only the newest refresh token. If it was not you, change the password."
