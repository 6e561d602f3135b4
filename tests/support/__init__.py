"""What several test modules need, with types: `from support.nginx import Nginx`.

pytest puts the folder above this one on the path (`pythonpath` in pyproject.toml). Rule for the next maintainer: no
module here reads the environment when it is imported, and none has a fixture. Fixtures stand in the conftests.
"""
