"""A real HTTP proxy with basic authentication, as the fixture `proxy` of the attacks starts it."""

from __future__ import annotations

import base64
from typing import NamedTuple


class Proxy(NamedTuple):
    """A real HTTP proxy, and what it takes to be let in."""

    port: int
    user: str = "proxy-user"
    password: str = "proxy-password"  # noqa: S105  of a proxy that lives for the time of the tests

    @property
    def url(self) -> str:
        """Its URL, with the credentials."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must not come to anybody else."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode())
        return self.password.encode(), token, b"Proxy-Authorization"
