"""Certificate authorities, honest and forged, and the certificates that they issue.

No socket and no TLS handshake belongs here.
"""
