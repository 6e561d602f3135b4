"""Where pins meet sockets: urllib3 and requests. One foreign API a file."""

import urllib3

if hasattr(urllib3, "ResponsePromise"):
    # Its connections are others inside: a check that is written for urllib3's might not be made.
    raise ImportError(
        "pinned_requests works on urllib3, and urllib3-future is installed in its place (niquests does that); "
        "use an environment without niquests, and reinstall urllib3 there"
    )
