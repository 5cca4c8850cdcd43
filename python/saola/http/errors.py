"""gunicorn's names for what can be wrong with a request, for code that catches them.

Saola's engine refuses such requests itself, in C; nothing of ours raises these.
"""


class ParseException(Exception):
    """A request cannot be understood."""


class NoMoreData(IOError):
    """The connection ended within a request. buf: what had arrived."""

    def __init__(self, buf=None):
        super().__init__(buf)
        self.buf = buf

    def __str__(self):
        return f"No more data after: {self.buf!r}"


class _About(ParseException):
    """An error with the thing that it is about."""

    what = "Invalid request"

    def __init__(self, thing=None):
        super().__init__(thing)
        self.thing = thing

    def __str__(self):
        return f"{self.what}: {self.thing!r}"


def _errors(**sentences):
    for name, what in sentences.items():
        globals()[name] = type(name, (_About,), {"what": what, "__doc__": what + ".", "__module__": __name__})


_errors(
    InvalidRequestLine="Invalid HTTP request line",
    InvalidRequestMethod="Invalid HTTP method",
    InvalidHTTPVersion="Invalid HTTP version",
    ExpectationFailed="Unable to comply with expectation",
    InvalidHeader="Invalid HTTP header",
    InvalidHeaderName="Invalid HTTP header name",
    ObsoleteFolding="Obsolete folded header",
    UnsupportedTransferCoding="Unsupported transfer coding",
    InvalidChunkSize="Invalid chunk size",
    InvalidChunkExtension="Invalid chunk extension",
    ChunkMissingTerminator="Invalid chunk terminator is not '\\r\\n'",
    LimitRequestLine="Request line is too large",
    LimitRequestHeaders="Error parsing headers",
    InvalidProxyLine="Invalid PROXY line",
    InvalidProxyHeader="Invalid PROXY header",
    ForbiddenProxyRequest="Proxy request is not allowed",
    InvalidSchemeHeaders="Contradictory scheme headers",
    ConfigurationProblem="Configuration problem",
    InvalidUWSGIHeader="Invalid uWSGI header",
    UnsupportedModifier="Unsupported uWSGI modifier",
    ForbiddenUWSGIRequest="uWSGI request is not allowed",
)


