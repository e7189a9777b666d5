"""The pretended product's journeys, through stile's API."""

PASSWORD = "correct-horse-battery-9"


def sign_up(stile, email):
    answer = stile.post("/auth/register", {"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text


def log_in(stile, email, password):
    return stile.post("/auth/login", {"email": email, "password": password})


def test_signs_up_proves_the_address_and_logs_in(stile, email):
    sign_up(stile, email)
    token = stile.mails(email)[0]["token"]
    assert stile.post("/auth/verify-email", {"token": token}).status_code == 200
    tokens = log_in(stile, email, PASSWORD).json()
    assert tokens["user"]["is_verified"]
    me = stile.get("/auth/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["email"] == email


def test_resets_a_forgotten_password_once(stile, email):
    sign_up(stile, email)
    assert stile.post("/auth/password-reset/request", {"email": email}).status_code == 200
    token = stile.mails(email)[0]["token"]
    change = {"token": token, "new_password": "another-horse-battery-9"}
    assert stile.post("/auth/password-reset/confirm", change).status_code == 200
    assert log_in(stile, email, PASSWORD).status_code == 401
    assert log_in(stile, email, change["new_password"]).status_code == 200
    again = stile.post("/auth/password-reset/confirm", change)
    assert (again.status_code, again.json()["code"]) == (400, "invalid_reset_token")


def test_ends_a_session_by_logging_out(stile, email):
    sign_up(stile, email)
    tokens = log_in(stile, email, PASSWORD).json()
    assert stile.post("/auth/logout", access_token=tokens["access_token"]).status_code == 200
    refresh = stile.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert (refresh.status_code, refresh.json()["code"]) == (401, "invalid_refresh_token")
