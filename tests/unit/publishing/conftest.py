"""A repository with all its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.office import Office

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Make the repository."""
    return Office(tmp_path)
