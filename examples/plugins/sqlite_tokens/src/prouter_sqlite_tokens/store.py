"""Agents and their secrets in SQLite. Codes and tokens are kept as hashes only: 256 random bits need no salt."""

import hashlib
import secrets
import sqlite3
import time

import aiosqlite

from prouter.errors import Conflict, Forbidden, NotFound

SCHEMA = "CREATE TABLE IF NOT EXISTS secrets (hash TEXT PRIMARY KEY, name TEXT, uid TEXT, kind TEXT, expires REAL)"
GOOD = "(hash = ? AND kind = ? AND expires > ?)"
NEVER = 1e18


class Store:
    """Whatever must not happen twice is one statement."""

    async def open(self, path: str) -> None:
        self.connection = await aiosqlite.connect(path, isolation_level=None)
        await self.do(SCHEMA)

    async def enrol(self, name: str, seconds: float) -> str:
        """A code that is good once, for so long. Raises Conflict."""
        code, now = secrets.token_urlsafe(32), time.time()
        await self.do("DELETE FROM secrets WHERE expires < ?", now)
        add = "INSERT INTO secrets SELECT ?, ?, NULL, 'code', ? WHERE NOT EXISTS (SELECT 1 FROM secrets WHERE name = ?)"
        if not await self.do(f"{add} RETURNING 1", _hash(code), name, now + seconds, name):
            raise Conflict(f"agent {name!r} is enrolled already; rotate its token, or revoke it first")
        return code

    async def redeem(self, code: str) -> str:
        """A code becomes a token. Raises Forbidden."""
        token = secrets.token_urlsafe(32)
        turn = f"UPDATE secrets SET hash = ?, kind = 'token', expires = ? WHERE {GOOD} RETURNING 1"
        if not await self.do(turn, _hash(token), NEVER, _hash(code), "code", time.time()):
            raise Forbidden("this code is unknown, too old or used")
        return token

    async def rotate(self, name: str, overlap: float) -> str:
        """A new token; those before are good for `overlap` seconds. Raises NotFound."""
        token, end = secrets.token_urlsafe(32), time.time() + overlap
        add = "INSERT INTO secrets SELECT ?, name, uid, kind, ? FROM secrets WHERE name = ? AND expires = ? LIMIT 1"
        if not await self.do(f"{add} RETURNING 1", _hash(token), NEVER, name, NEVER):
            raise NotFound(f"no agent {name!r} has a token")
        older = "UPDATE secrets SET expires = min(expires, ?) WHERE name = ? AND hash <> ?"
        await self.do(older, end, name, _hash(token))
        return token

    async def revoke(self, name: str) -> str | None:
        """All of its secrets are gone; its uid, if it was ever here. Raises NotFound."""
        found = await self.do("DELETE FROM secrets WHERE name = ? RETURNING uid", name)
        if not found:
            raise NotFound(f"no agent {name!r} is enrolled")
        return next((uid for (uid,) in found if uid), None)

    async def whose(self, token: str, uid: str) -> tuple[str, str] | None:
        """Name and uid of a token's agent; whoever comes with it first makes it its own."""
        bind = f"UPDATE secrets SET uid = coalesce(uid, ?) WHERE name = (SELECT name FROM secrets WHERE {GOOD})"
        found = await self.do(f"{bind} RETURNING name, uid", uid, _hash(token), "token", time.time())
        return (found[0][0], found[0][1]) if found else None

    async def agents(self) -> list[dict[str, str | None]]:
        return [{"agent": name, "uid": uid} for name, uid in await self.do("SELECT DISTINCT name, uid FROM secrets")]

    async def do(self, statement: str, *values: object) -> list[sqlite3.Row]:
        return list(await self.connection.execute_fetchall(statement, values))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
