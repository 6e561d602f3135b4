"""TLS by the standard library's `ssl` alone: the chain of an `ssl` socket.

No urllib3 and no requests belong here: what they add to `ssl` is in transport/.
"""
