"""Certificate authorities, honest and forged, and the certificates that they issue.

Everything is made in memory. No socket and no TLS handshake belongs here.
"""
