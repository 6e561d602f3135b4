"""A published repository, read over https as a client reads it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.sources.tuf.errors import explain
from pinned_requests.sources.tuf.fetcher import MAX_BYTES, BoundedFetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MISSING = frozenset({403, 404})  # what web servers and buckets answer for a file that does not exist


def is_url(text: str) -> bool:
    """Return whether the place of a repository is a URL, not a folder."""
    return text.startswith(("https://", "http://"))


@contextmanager
def reading(url: str, ca_bundle: str | None = None) -> Iterator[Callable[[str], bytes]]:
    """Return a function that reads the files of a repository, in a `with` block, with the bounds of the client.

    The function raises `FileNotFoundError` for a missing file, and `RemotePolicyError` for other failures.

    Args:
        url: of the folder that has `metadata/` and `targets/`.
        ca_bundle: path of the CA certificates to trust; None: as requests.
    """
    if "?" in url or "#" in url or "@" in url:
        raise PolicyError(f"invalid URL {show(url)}: give that of a folder, without user, query and fragment")
    base = url.rstrip("/")
    with BoundedFetcher(ca_bundle or True) as fetcher:

        def read(name: str) -> bytes:
            try:
                return bytes(fetcher.download_bytes(f"{base}/{name}", MAX_BYTES))
            except DownloadHTTPError as e:
                if e.status_code in _MISSING:
                    raise FileNotFoundError(f"{base}/{name} is missing (HTTP status {e.status_code})") from None
                raise explain(e, f"{base}/{name}") from None
            except DownloadError as e:
                raise explain(e, f"{base}/{name}") from None

        yield read
