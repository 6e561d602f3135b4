"""Policies that are changed and written: the library behind `init`, `rotate`, `block` and `repin`.

What belongs here: a policy → another policy, its text with comments kept, its history, backup keys, and files that are
written whole or not at all. What does not: connections (`monitoring/`), questions to people and output (`cli/`).
"""
