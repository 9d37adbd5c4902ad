"""The one way this server refuses a request."""

from http import HTTPStatus


class Refused(Exception):
    """A request that cannot be answered; sent as JSON in the shape of OpenAI's errors."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    def body(self) -> dict[str, object]:
        kind = {401: "authentication_error", 500: "server_error"}.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, *, code: str = "invalid_value", status: int = HTTPStatus.BAD_REQUEST) -> Refused:
    """The field `param` does not fit; `message` says what would."""
    return Refused(status, code, message, param=param)
