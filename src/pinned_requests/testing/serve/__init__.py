"""The lab for clients in other processes and languages: addresses on loopback, a control endpoint, runs of a command.

It puts the attackers of `lab` behind two fixed ports. The verdict on a client is that of `lab.verdict`; what is added
here is the control: a client that never talked to the host's own server has shown nothing by refusing an attacker.
"""
