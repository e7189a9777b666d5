"""FastAPI + slowapi + Redis: one limited endpoint that passes, one that refuses. REDIS_URL is read from the environment."""

import os

from fastapi import FastAPI, Request, Response
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

limiter = Limiter(key_func=get_remote_address, storage_uri=os.environ["REDIS_URL"], key_prefix="slowapi", headers_enabled=True)
app = FastAPI(openapi_url=None)
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.get("/health")
async def health():
    return {"status": "healthy", "service": "fastapi"}


@app.get("/limited")
@limiter.limit("1000000000/minute")
async def limited(request: Request, response: Response):
    return {"status": "healthy", "service": "fastapi"}


@app.get("/refused")
@limiter.limit("1/day")
async def refused(request: Request, response: Response):
    return {"status": "healthy", "service": "fastapi"}
