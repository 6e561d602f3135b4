"""What holds for every test: an environment without settings of the machine, and Hypothesis' profile.

Rule: a test that needs one of these variables sets it itself, with ``monkeypatch``.
"""

from __future__ import annotations

import os

from hypothesis import settings

_TRUST_VARIABLES = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}

# At import, not in a fixture: requests and ssl must not see these during collection either.
for _name in list(os.environ):
    if _name.upper() in _TRUST_VARIABLES or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# No deadline: a slow machine is no failure.
settings.register_profile("ci", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ci")
