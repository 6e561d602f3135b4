"""RSA keys that are made in a millisecond, and protect nothing.

A genuine RSA key takes 50 ms and more, and most tests of a client need none of the four that a lab would make. All keys
made here share one published modulus, and differ in their public exponent; so their SubjectPublicKeyInfo, and with it
their pin, differs. Each is as good as any other in a handshake on loopback, and this file gives all of them away.
"""

from __future__ import annotations

import math
import secrets

from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["published_rsa_key"]

_P = int(
    "FC6503DD76F5D14095CFBF85718C222A325FAC2F78FE612AB1C8E7A49154BE4E12F0E7F4D95240D7A2729510BE0FD593"
    "260A5E1401F8B868A929C04B4FCD0529BDDEC3543F50CDDBFACC032FBDEE083EA00A063C052E7C79381F9C088C0F96B9"
    "DC8F8C72538C113B3A4FB5A83180654245774ECE0B89C8F48182ADC6E2BBBDBD",
    16,
)
_Q = int(
    "E70282FDEE5B40149C1B546BA34B04916C5D11A9D6F85D2BBF45156BF9D5FB4960991C1C0E4D27F1E90C4BCF39D30E16"
    "1BBD189580A4A8B98859283FE9F6102926F15A87DB40B4119B261434752071674585E332236861E91042C64BDD37B56B"
    "BEC8F8FB4A882C7E43CEAA5E70D9649C6429157AF757E128123A4F89587D3A51",
    16,
)
_LOWEST = 65537  # FIPS 186-5 §5.4
_BITS = 30  # an exponent of 32 bits and more is refused by some TLS libraries, Go's for one


def published_rsa_key() -> rsa.RSAPrivateKey:
    """Make an RSA key of 2048 bits for a lab."""
    totient = (_P - 1) * (_Q - 1)
    exponent = _LOWEST
    while math.gcd(exponent, totient) != 1 or exponent == _LOWEST:
        exponent = _LOWEST + 2 * secrets.randbits(_BITS - 1)
    private = pow(exponent, -1, totient)
    return rsa.RSAPrivateNumbers(
        p=_P,
        q=_Q,
        d=private,
        dmp1=rsa.rsa_crt_dmp1(private, _P),
        dmq1=rsa.rsa_crt_dmq1(private, _Q),
        iqmp=rsa.rsa_crt_iqmp(_P, _Q),
        public_numbers=rsa.RSAPublicNumbers(exponent, _P * _Q),
    ).private_key(unsafe_skip_rsa_key_validation=True)
