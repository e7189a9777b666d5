"""Lets schemathesis in: it signs up, keeps being signed in whatever it has just ended or deleted, and puts what exists
(ids, passwords, mailed tokens) into a part of the requests that are meant to be good, so that every operation is reached
behind its door. What each call came to is written down for main.rs."""

import email
import glob
import itertools
import json
import os
import time

import requests
import schemathesis

URL = os.environ["STILE_URL"]
OUTBOX = os.environ["STILE_OUTBOX"]
CALLS = open(os.environ["STILE_CALLS"], "a", buffering=1)
PASSWORD = "correct-horse-battery-9"

numbers = itertools.count(1)
http = requests.Session()


def call(method, path, body=None, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return http.request(method, f"{URL}/api/v1{path}", json=body, headers=headers, timeout=20)


def must(status, answer):
    assert answer.status_code == status, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer.json()


class Person:
    """Somebody who is signed in. Ended or deleted, the next one takes the place."""

    def __init__(self, address, known=False):
        self.email, self.password = address, PASSWORD
        if not known:
            must(201, call("POST", "/auth/register", {"email": address, "password": PASSWORD}))
        self.take(self.log_in())

    def log_in(self):
        return must(200, call("POST", "/auth/login", {"email": self.email, "password": self.password}))

    def take(self, tokens):
        self.access, self.refresh = tokens["access_token"], tokens["refresh_token"]
        self.id = tokens["user"]["id"]

    def is_signed_in(self):
        return call("GET", "/auth/me", token=self.access).status_code == 200


def stranger():
    return Person(f"person-{next(numbers)}@example.com")


current = {}


def user():
    if "user" not in current or not current["user"].is_signed_in():
        current["user"] = stranger()
    return current["user"]


def admin():
    # main.rs made the account and gave it the role; the last administrator cannot be deleted or demoted.
    if "admin" not in current or not current["admin"].is_signed_in():
        current["admin"] = Person("admin@example.com", known=True)
    return current["admin"]


def api_token():
    made = call("POST", "/api-tokens", {"name": "a script"}, user().access)
    if made.status_code == 409:
        # As many as one may have.
        current["user"] = stranger()
        made = call("POST", "/api-tokens", {"name": "a script"}, user().access)
    return must(201, made)


def mailed_token(address, subject):
    """The token in the mail to an address, as soon as it is there."""
    for _ in range(400):
        for path in sorted(glob.glob(f"{OUTBOX}/*.eml"), reverse=True)[:20]:
            with open(path, "rb") as file:
                mail = email.message_from_binary_file(file)
            if mail["To"] == address and mail["Subject"].startswith(subject):
                text = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
                return text.get_payload(decode=True).decode().split("#token=")[1].split()[0]
        time.sleep(0.025)
    raise AssertionError(f"no mail to {address} about {subject}")


def reset_token():
    address = stranger().email
    must(200, call("POST", "/auth/password-reset/request", {"email": address}))
    return mailed_token(address, "Set a new password")


def fresh_password():
    return f"four-calm-otters-drift-{next(numbers)}"


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    def get(self, case, context):
        if context.operation.path.startswith("/api/v1/admin/"):
            return admin().access
        if context.operation.path == "/api/v1/api-gateway/verify":
            return api_token()["token"]
        return user().access

    def set(self, case, data, context):
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


def with_body(**fields):
    def fill(case):
        made = {name: make() for name, make in fields.items()}
        case.body = {**(case.body if isinstance(case.body, dict) else {}), **made}

    return fill


def with_id(make):
    def fill(case):
        case.path_parameters = {**(case.path_parameters or {}), "id": make()}

    return fill


def with_query(**fields):
    def fill(case):
        case.query = {**(case.query or {}), **{name: make() for name, make in fields.items()}}

    return fill


def both(first, second):
    def fill(case):
        first(case)
        second(case)

    return fill


token_id = with_id(lambda: api_token()["id"])
user_id = with_id(lambda: stranger().id)
FILLS = {
    "register": with_body(email=lambda: f"new-{next(numbers)}@example.com", password=fresh_password),
    "login": with_body(email=lambda: user().email, password=lambda: user().password, use_cookies=lambda: False),
    "refresh": with_body(refresh_token=lambda: user().refresh, use_cookies=lambda: False),
    "delete_me": with_body(password=lambda: user().password),
    "change_email": with_body(password=lambda: user().password, new_email=lambda: f"new-{next(numbers)}@example.com"),
    "change_password": with_body(current_password=lambda: user().password, new_password=fresh_password),
    "verify_email": with_body(token=lambda: mailed_token(stranger().email, "Confirm your")),
    "resend_verification": with_body(email=lambda: user().email),
    "request_password_reset": with_body(email=lambda: user().email),
    "verify_password_reset": with_body(token=reset_token),
    "confirm_password_reset": with_body(token=reset_token, new_password=fresh_password),
    "end_session": with_id(lambda: user().log_in()["session_id"]),
    "create_api_token": with_body(
        name=lambda: "a script",
        scopes=lambda: ["read:things"],
        expires_at=lambda: None,
        rate_limit_per_minute=lambda: 5,
        rate_limit_per_hour=lambda: None,
        rate_limit_per_day=lambda: None,
    ),
    "get_api_token": token_id,
    "update_api_token": both(token_id, with_body(name=lambda: "a script")),
    "revoke_api_token": token_id,
    "rotate_api_token": token_id,
    "test_outbox": with_query(to=lambda: user().email),
    "get_user": user_id,
    "update_user": both(user_id, with_body(is_active=lambda: True, role=lambda: "user")),
    "delete_user": user_id,
    "create_reset_link": user_id,
}


def operation_id(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def before_call(context, case, kwargs):
    fill = FILLS.get(operation_id(case))
    is_good = case.meta is not None and case.meta.generation.mode.is_positive
    # The others go as they are: ids that nobody has and passwords that are wrong are good requests too.
    if fill and is_good and next(numbers) % 3:
        fill(case)


@schemathesis.hook
def after_call(context, case, response):
    operation, status = operation_id(case), response.status_code
    CALLS.write(json.dumps({"operation": operation, "method": case.method.upper(), "status": status}) + "\n")
    person = current.get("user")
    if status != 200 or person is None:
        return
    if operation == "refresh" and case.body.get("refresh_token") == person.refresh:
        person.take(response.json())
    elif operation == "change_password" and case.method.upper() == "POST":
        person.password = case.body["new_password"]
