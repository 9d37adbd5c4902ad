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


class LastOwner(Problem):
    code, status, title = "last_owner", 409, "An organization needs an owner"
    explanation = "Nobody else owns this organization, so its last owner can neither leave nor become something less."
    fix = "Make somebody else an owner first, or close the organization."


class PersonalOrganization(Problem):
    code, status, title = "personal_organization", 409, "Not with a personal organization"
    explanation = (
        "A personal organization belongs to one account: it cannot be left by its person, handed over, owned by"
        " somebody else as well, or closed without the account."
    )
    fix = "Make another organization with `POST /api/organizations` for what several people shall own."


class AlreadyMember(Problem):
    code, status, title = "already_a_member", 409, "Already in the organization"
    explanation = "Somebody with this address is in the organization already."
    fix = "Change their role, if it shall be another one."


class AlreadyInvited(Problem):
    code, status, title = "already_invited", 409, "Already invited"
    explanation = "An invitation for this address is open."
    fix = "Send it once more with `POST …/invitations/{id}/resend`, or take it back and invite anew."


class InvitationInvalid(Problem):
    code, status, title = "invitation_invalid", 422, "Wrong or expired invitation"
    explanation = (
        "The token is not one of an open invitation: it may be misspelt, expired, replaced by a newer one, answered or"
        " taken back."
    )
    fix = "Use the link in the newest mail, or ask whoever invited you for another one."


class InvitationNotYours(Problem):
    code, status, title = "invitation_not_yours", 403, "The invitation is for another address"
    explanation = "An invitation is accepted by an account that has verified the address it was mailed to."
    fix = "Log in with the account of that address, or verify the address in this one first."


class OrganizationInUse(Problem):
    code, status, title = "organization_in_use", 409, "The organization is in use"
    explanation = "An organization is closed when no key of it works, no call of it runs and no model of it is listed."
    fix = "Revoke the keys, archive the models, wait for running calls to end, then close it."


class AccountInUse(Problem):
    code, status, title = "account_in_use", 409, "The account is in use"
    explanation = "An account is closed when nobody depends on it: no shared organization without another owner."
    fix = "Do what the reasons say, then close it."
