"""requests' settings from the environment, without the cost of reading all of it for each request.

requests reads every variable twice a request to find proxies (13 % of a kept-alive request). Without a `*_proxy`
variable there is nothing to find.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import requests.sessions
from requests.sessions import Session, merge_setting

if TYPE_CHECKING:
    from types import MethodType


_HAS_SYSTEM_PROXIES = sys.platform in ("darwin", "win32")
_OF_REQUESTS = Session.merge_environment_settings, requests.sessions.get_environ_proxies  # type: ignore[attr-defined]  # not in __all__


def merge_environment_settings(  # noqa: PLR0913, PLR0917  requests' signature
    session: Session, inherited: MethodType, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
) -> Any:
    """Return the settings of `session` for a request, as `inherited`, the bound method of the next class, returns them.

    That one is called in all but the usual case.
    """
    found = getattr(inherited, "__func__", None), requests.sessions.get_environ_proxies  # type: ignore[attr-defined]  # as above
    is_of_requests = found == _OF_REQUESTS  # neither overridden nor patched
    is_usual = is_of_requests and session.trust_env and not (proxies and "no_proxy" in proxies)
    if not is_usual or _HAS_SYSTEM_PROXIES or b"_proxy\n" in (names := _variables()):
        return inherited(url, proxies, stream, verify, cert)
    if (verify is True or verify is None) and b"_ca_bundle\n" in names:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or verify
    own = session.proxies
    return {
        "proxies": OrderedDict() if proxies == {} == own else merge_setting(proxies, own),
        "stream": merge_setting(stream, session.stream),
        "verify": merge_setting(verify, session.verify),
        "cert": merge_setting(cert, session.cert),
    }


def _variables() -> bytes:
    """Return the names of the variables, in lower case, each with a newline behind it."""
    # `os.environ` decodes each name, which takes three times as long. Its own dictionary has them as the system does.
    names = getattr(os.environ, "_data", None) or [os.fsencode(name) for name in os.environ]
    return b"\n".join([*names, b""]).lower()
