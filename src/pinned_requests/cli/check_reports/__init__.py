"""What `check` has found, in each of its formats: for people, for machines, for monitoring systems.

Each module here turns a `Report` into text. What is a finding, and how bad it is, is not decided here: that is
`monitoring/`.
"""
