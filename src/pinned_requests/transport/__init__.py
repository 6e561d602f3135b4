"""Where pins meet requests and urllib3: session → adapter → manager → pool → connection, one class of theirs a file.

Decisions do not belong here (core/verdict.py), nor does enforcing them (enforcement/).
"""

import urllib3

if hasattr(urllib3, "ResponsePromise"):
    # Its connections differ inside: a check that is written for urllib3's might not be made.
    raise ImportError(
        "pinned_requests works on urllib3, and urllib3-future is installed in its place (niquests does that); "
        "use an environment without niquests, and reinstall urllib3 there"
    )
