"""Pins, policies, host patterns, certificate chains, and the verdict on a connection.

Frozen values and pure functions belong here, on the standard library alone (`cryptography` and `idna` are imported when
first used). Sockets, HTTP libraries, logging and the clock do not: chains come in as bytes, the time as a parameter.
"""
