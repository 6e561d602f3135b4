"""The lab for clients in other processes and languages.

It adds addresses, a control endpoint, and runs of a command; the verdict is that of `lab.verdict`.
"""
