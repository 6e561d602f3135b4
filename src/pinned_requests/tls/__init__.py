"""`PinnedSSLContext`: TLS by the standard library's `ssl` alone, for every client that takes a context.

No urllib3 belongs here: what it adds to `ssl` is in transport/. requests is needed for the exception tree only.
"""
