"""Attackers and honest servers in the place of hosts, and the verdict on the client that met them.

What works without the others of `pki`, `server` and `intercept` belongs there.
"""
