"""`pinned-requests demo`: a man in the middle on loopback, with a certificate that the client's CA vouches for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import requests

from pinned_requests import Pin, PinMismatchError, PinnedSession, PinSet
from pinned_requests.testing import Authority, TLSServer, generate_key

SECRET = {"Authorization": "Bearer the-secret-token"}
WAIT = 5.0  # seconds: far longer than anything here takes; a hang is a failure


def demo() -> int:
    """Play the attack, and return 0 only if requests was fooled, `PinnedSession` not, and no byte of it got out."""
    print("A CA that this client trusts signs a certificate for localhost for the API, and another for an attacker.")
    authority = Authority.create("Demo CA")
    honest, attacker = authority.issue("localhost"), authority.issue("localhost")
    backup = Pin.from_public_key(generate_key().public_key())
    pins = {"localhost": PinSet(Pin.from_certificate(honest.certificate), backup_pins=backup)}

    with tempfile.TemporaryDirectory() as folder, TLSServer(honest) as api, TLSServer(attacker) as man_in_the_middle:
        bundle = Path(folder, "ca.pem")
        bundle.write_bytes(authority.certificate_pem)

        with requests.Session() as plain:
            plain.trust_env, plain.verify = False, str(bundle)
            fooled = plain.get(man_in_the_middle.url(), headers=SECRET, timeout=WAIT).ok
        man_in_the_middle.settle(WAIT)
        stolen = man_in_the_middle.application_bytes
        print(f"\n1. requests.Session → attacker: {'answered' if fooled else 'refused'}.")
        has_token = SECRET["Authorization"].encode() in man_in_the_middle.received
        print(f"   The attacker got {stolen} bytes, the token {'among them' if has_token else 'not'}.")

        with PinnedSession(pins) as pinned:
            pinned.trust_env, pinned.verify = False, str(bundle)
            served = pinned.get(api.url(), headers=SECRET, timeout=WAIT).ok
            print(f"\n2. PinnedSession → the API: {'answered' if served else 'refused'}.")

            refusal = None
            try:
                pinned.get(man_in_the_middle.url(), headers=SECRET, timeout=WAIT)
            except PinMismatchError as error:
                refusal = error
        man_in_the_middle.settle(WAIT)
        leaked = man_in_the_middle.application_bytes - stolen
        print(f"\n3. PinnedSession → attacker: {'refused' if refusal else 'answered'}.")
        print(f"   The attacker got {leaked} bytes.\n\nPinMismatchError: {refusal}")

    as_it_should_be = fooled and has_token and served and refusal is not None and leaked == 0
    print(f"\n{'All of that is as it should be.' if as_it_should_be else 'That is NOT as it should be.'}")
    return 0 if as_it_should_be else 1
