"""What is wrong with a request, in words for the caller."""


class InvalidRequest(Exception):  # noqa: N818  (named for what is wrong)
    """The request cannot be served as it stands: a 400 with OpenAI's error fields."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
