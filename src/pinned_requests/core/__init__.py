"""Pins, policies, host patterns, certificate chains, and the verdict on a connection.

Frozen values and pure functions belong here. They use only the standard library (`cryptography` and `idna` are imported
lazily). Sockets, HTTP libraries, logging and the clock do not belong here: a chain is given as bytes, the time as an
argument.
"""
