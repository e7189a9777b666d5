"""Rows written past the programs that are measured: a million accounts by hashing would take hours."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
import uuid
from datetime import datetime, timezone

DAY_MS = 86_400_000


class Sqlite:
    """Bulk load into a file that a server has open."""

    def __init__(self, file):
        self.file = file

    def load(self, table, columns, rows):
        with sqlite3.connect(self.file, timeout=30) as connection:
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
        connection.close()

    def settle(self):
        """What a database does of itself some time after a bulk load. SQLite takes no statistics by itself."""
        connection = sqlite3.connect(self.file, timeout=30)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def size(self):
        return os.path.getsize(self.file)

    def password_hash(self, email):
        connection = sqlite3.connect(self.file, timeout=30)
        found = connection.execute("SELECT password_hash FROM users WHERE email = ?", (email,)).fetchone()
        connection.close()
        return found[0]


class Copy:
    """The same through PostgreSQL's COPY."""

    def __init__(self, postgres, database):
        self.postgres, self.database = postgres, database

    def load(self, table, columns, rows):
        text = lambda value: r"\N" if value is None else ("t" if value is True else "f" if value is False else str(value))
        self.postgres.copy(self.database, table, columns, ("\t".join(map(text, row)) for row in rows))

    def settle(self):
        self.postgres.run("VACUUM ANALYZE", self.database)
        self.postgres.run("CHECKPOINT", self.database)

    def size(self):
        return int(self.postgres.run(f"SELECT pg_database_size('{self.database}')"))

    def password_hash(self, email):
        return self.postgres.run(f"SELECT password_hash FROM users WHERE email = '{email}'", self.database)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def uuid7():
    """In the order of time, as the program makes them: a random key would be another index."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 2 << 62))


SESSION = "id, user_id, family_hash, token_hash, client_ip, user_agent, created_at, last_active_at, client_noted_at, live_until, sweep_at, expires_at"
USER = "id, email, password_hash, password_version, role, is_active, is_verified, is_pending, created_at, last_login_at"


def session_row(user, family, own, session=None):
    now = time.time_ns() // 1_000_000
    ends = (now + 30 * DAY_MS, now + 30 * DAY_MS, now + 90 * DAY_MS)
    return (session or uuid7(), user, sha256(family), sha256(own), "127.0.0.1", "bench", now, now, now, *ends)


def sessions(database, user, count):
    """`count` sessions of one user; their refresh tokens."""
    pairs = [(secrets.token_urlsafe(32), secrets.token_urlsafe(32)) for _ in range(count)]
    database.load("sessions", SESSION, (session_row(user, *pair) for pair in pairs))
    database.settle()
    return [f"{family}.{own}" for family, own in pairs]


def population(database, first, count, password_hash):
    """Users number `first` and on, a session for each: (address, user, session, refresh token) of each."""
    now = time.time_ns() // 1_000_000
    people = []
    for n in range(first, first + count):
        token = f"{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}"
        people.append((f"person{n}@example.com", uuid7(), uuid7(), token))
    database.load("users", USER, (
        (user, email, password_hash, 1, "user", True, True, False, now, now) for email, user, _, _ in people
    ))
    database.load("sessions", SESSION, (
        session_row(user, *token.split("."), session) for _, user, session, token in people
    ))
    # Where somebody logged in from is noted with the login.
    database.load("known_clients", "user_id, client, seen_at", ((user, "127.0.0.1", now) for _, user, _, _ in people))
    return people


def fastapi_tokens(database, user, count):
    """The same for fastapi-users."""
    tokens = [secrets.token_urlsafe(32) for _ in range(count)]
    is_sqlite = isinstance(database, Sqlite)
    now = datetime.now(timezone.utc).isoformat(sep=" ")
    now = now.removesuffix("+00:00") if is_sqlite else now
    database.load("accesstoken", "token, created_at, user_id", ((token, now, user) for token in tokens))
    database.settle()
    return tokens


def access_token(secret, issuer, user, session):
    """As stile signs them with JWT_SECRET."""
    encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=")
    now = int(time.time())
    kid = KID.get(secret)
    head = {"alg": "HS256", "kid": kid, "typ": "at+jwt"}
    claims = {
        "iss": issuer, "aud": "stile", "sub": user, "sid": session, "jti": secrets.token_urlsafe(16),
        "iat": now, "exp": now + 900, "role": "user", "email_verified": True,
    }
    signed = b".".join(encode(json.dumps(part).encode()) for part in (head, claims))
    return (signed + b"." + encode(hmac.digest(secret.encode(), signed, "sha256"))).decode()


#: The `kid` of each secret, read from a token that the server itself made.
KID = {}


def learn_kid(secret, token):
    head = token.split(".")[0]
    read = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    KID[secret] = read["kid"]
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
