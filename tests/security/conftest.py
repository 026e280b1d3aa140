"""One set of secured servers for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.servers import SecuredServers, secured_servers


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServers]:
    with secured_servers(tmp_path_factory.mktemp("secured")) as servers:
        yield servers
