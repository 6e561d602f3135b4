"""Policies that are read with care, changed and written: the library behind `lint`, `init`, `rotate`, `block`, `repin`.

What belongs here: what is doubtful of a policy as it stands, a policy → another policy, its text with comments kept,
its history, backup keys, and files that are written whole or not at all. What does not: connections (`monitoring/`),
questions to people and output (`cli/`).
"""
