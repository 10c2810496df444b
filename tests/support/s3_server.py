"""An S3 server on a free port, started in this process.

The server of `moto` looks for an object and writes it in two steps without a lock, so two
simultaneous conditional writes could both succeed. A lock around every writing request gives what
real servers guarantee.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class S3App:
    """The server as a WSGI application.

    Attributes:
        ignores_conditions: answer conditional writes as older servers do.
        requests: method and path of every request so far.
    """

    def __init__(self) -> None:
        self.ignores_conditions = False
        self.requests: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if path.startswith("/forbidden"):
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"]
        if method in ("GET", "HEAD"):
            return self._app(environ, start)
        with self._lock:
            return list(self._app(environ, start))


@contextmanager
def s3_server() -> Iterator[tuple[str, S3App]]:
    """Yield the address and the application of a running server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = S3App()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", app
    finally:
        server.shutdown()
        thread.join()
