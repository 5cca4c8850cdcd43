"""HTTP as Python code sees it: what hooks and the access log get for a request and its response.

Parsing and sending are the C engine's; these objects are made only when somebody looks at them.
"""

from .message import Request
from .wsgi import Response

__all__ = ["Request", "Response"]
