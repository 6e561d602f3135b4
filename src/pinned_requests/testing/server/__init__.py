"""HTTP/1.1 servers on loopback, with TLS or without, that count every byte and handshake.

They do not know which host they stand for, and change nothing in the process: that is `intercept`.
"""
