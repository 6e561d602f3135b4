"""Policies that are looked through, changed and written: the library behind `lint`, `init`, `rotate`, `block`, `repin`.

Connections belong to `monitoring/`, questions to people and output to `cli/`.
"""
