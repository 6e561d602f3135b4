"""The lab itself: attackers and honest servers in the place of hosts, and the verdict on the client that met them.

It puts together what `pki`, `server` and `intercept` offer. Code that works without the others belongs there.
"""
