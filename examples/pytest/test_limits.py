"""Limits on, in parallel workers: each test is a client of its own and has the whole limit."""

import pytest

from stile import Stile


@pytest.mark.parametrize("time", range(6))
def test_a_client_has_exactly_the_limit(time, email, request):
    stile = Stile(request.node.nodeid)
    limit = stile.limit("login")
    if limit is None:
        pytest.skip("stile runs with ENABLE_RATE_LIMITING=false")
    codes = [
        stile.post("/auth/login", {"email": email, "password": "wrong"}).status_code
        for _ in range(limit + 2)
    ]
    assert codes == [401] * limit + [429] * 2
