"""What the suite wants of stile. Copy this file into your own suite."""

import os

import requests

API = os.environ.get("STILE_URL", "http://localhost:8000") + "/api/v1"
KEY = os.environ.get("TEST_ENDPOINTS_KEY")


class Stile:
    """One client. With a worker's name its limits are counted apart from everybody else's."""

    def __init__(self, worker=None):
        self.session = requests.Session()
        if KEY:
            self.session.headers["X-Test-Key"] = KEY
        if worker:
            self.session.headers["X-Test-Client"] = worker

    def get(self, path, **options):
        return self.session.get(API + path, timeout=30, **options)

    def post(self, path, body=None, access_token=None):
        headers = {"Authorization": f"Bearer {access_token}"} if access_token else None
        return self.session.post(API + path, json=body, headers=headers, timeout=30)

    def mails(self, address):
        """Newest first. stile waits for mail on its way, so there is no need to poll."""
        answer = self.get("/test/outbox", params={"to": address})
        assert answer.status_code == 200, f"{answer.text} (stile needs ENABLE_TEST_ENDPOINTS=true)"
        return answer.json()

    def limit(self, rule):
        """How many requests a minute the rule lets pass; None where limiting is off."""
        limits = self.get("/rate-limits").json()
        if not limits["enabled"]:
            return None
        text = next(entry["limit"] for entry in limits["rules"] if entry["name"] == rule)
        return int(text.removesuffix("/minute"))
