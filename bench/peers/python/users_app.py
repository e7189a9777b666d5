"""FastAPI with fastapi-users: register, login, me, and refresh, as its documentation builds them (SQLAlchemy, tokens in the
database), with stile's argon2id parameters. DATABASE_URL is an SQLAlchemy URL.

fastapi-users has no refresh of its own; /auth/refresh rotates the stored token by its own strategy: proves the old one,
deletes it, writes a new one."""

import os
import uuid
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase, SQLAlchemyBaseAccessTokenTableUUID
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

ARGON2ID = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))

url = os.environ["DATABASE_URL"]
engine = create_async_engine(url, pool_size=5)
session_maker = async_sessionmaker(engine, expire_on_commit=False)

if url.startswith("sqlite"):

    @event.listens_for(engine.sync_engine, "connect")
    def as_durable_as_stile(connection, _):
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"):
            connection.execute(f"PRAGMA {pragma}")


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    pass


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = verification_token_secret = "only for the bench, thirty-two bytes"


async def session():
    async with session_maker() as open_session:
        yield open_session


async def user_manager(on=Depends(session)):
    yield UserManager(SQLAlchemyUserDatabase(on, User), PasswordHelper(ARGON2ID))


def strategy(on=Depends(session)):
    return DatabaseStrategy(SQLAlchemyAccessTokenDatabase(on, AccessToken), lifetime_seconds=30 * 86400)


backend = AuthenticationBackend("database", BearerTransport("auth/login"), strategy)
users = FastAPIUsers[User, uuid.UUID](user_manager, [backend])


class UserRead(schemas.BaseUser[uuid.UUID]):
    pass


class UserCreate(schemas.BaseUserCreate):
    pass


@asynccontextmanager
async def lifespan(_):
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    except DatabaseError:
        pass  # Another worker was faster.
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    yield


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.include_router(users.get_auth_router(backend), prefix="/auth")
app.include_router(users.get_register_router(UserRead, UserCreate), prefix="/auth")
app.include_router(users.get_users_router(UserRead, UserCreate), prefix="/users")


@app.get("/health")
async def health():
    return {"status": "healthy"}


@app.post("/auth/refresh")
async def refresh(
    found=Depends(users.authenticator.current_user_token(active=True)), tokens=Depends(strategy)
):
    user, token = found
    await tokens.destroy_token(token, user)
    return {"access_token": await tokens.write_token(user), "token_type": "bearer"}
