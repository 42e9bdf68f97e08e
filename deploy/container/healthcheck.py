#!/usr/bin/env python3
"""Exit with 0 where the learner of this container answers a probe with 200, and with 1 elsewhere.

Takes the path of the probe, /healthz where none is given. The slim image has no curl.
"""

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

TIMEOUT_SECONDS = 2.5


def status(path: str, port: int) -> int:
    """Return the HTTP status that the learner answers with, over TLS where it does not speak plain HTTP."""
    try:
        return _ask(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS), path)
    except (HTTPException, OSError):
        context = ssl.create_default_context()
        context.check_hostname = False  # the certificate is for those who come from outside
        context.verify_mode = ssl.CERT_NONE
        return _ask(HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context), path)


def _ask(connection: HTTPConnection, path: str) -> int:
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> int:
    """Ask, and return the exit code."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/healthz"
    try:
        found = status(path, int(os.environ["STREAMLEARN_MONITOR__PORT"]))
    except (HTTPException, OSError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    sys.stdout.write(f"{path}: {found}\n")  # docker inspect shows it
    return 0 if found == 200 else 1  # noqa: PLR2004 - OK


if __name__ == "__main__":
    sys.exit(main())
