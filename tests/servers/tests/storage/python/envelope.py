"""Reads and writes records that kv-storage keeps with Fernet in an SQLite file."""

import os
import sqlite3
import struct
import sys
import time

from cryptography.fernet import Fernet

NEVER = 2**64 - 1


def binding(deployment, collection, key):
    """Where a value belongs: the first part of every envelope."""
    parts = [part.encode() for part in (deployment, collection, key)]
    return b"\x01" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def seal(fernet, place, value, expires_at=NEVER):
    """Makes the stored value; the expiry is in milliseconds since 1970."""
    return fernet.encrypt(binding(*place) + struct.pack(">Q", expires_at) + value)


def unseal(fernet, place, sealed):
    """The value, or None if it belongs elsewhere or has expired."""
    envelope = fernet.decrypt(sealed)
    begin = binding(*place)
    if not envelope.startswith(begin):
        return None
    payload = envelope[len(begin):]
    (expires_at,) = struct.unpack(">Q", payload[:8])
    return payload[8:] if expires_at > time.time() * 1000 else None


def get(database, fernet, place):
    _, collection, key = place
    row = database.execute(
        "SELECT value FROM entries WHERE collection = ? AND key = ?"
        " AND (expires_at IS NULL OR expires_at > ?)",
        (collection, key.encode(), int(time.time() * 1000)),
    ).fetchone()
    return row and unseal(fernet, place, row[0])


def put(database, fernet, place, value, seconds):
    """Writes a record that lives so long, under a version of its own."""
    _, collection, key = place
    expires_at = int((time.time() + seconds) * 1000)
    sealed = seal(fernet, place, value, expires_at)
    with database:
        database.execute(
            "INSERT INTO entries (collection, key, version, expires_at, value)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (collection, key) DO UPDATE SET"
            " version = excluded.version, expires_at = excluded.expires_at,"
            " value = excluded.value",
            (collection, key.encode(), os.urandom(16), expires_at, sealed),
        )


if __name__ == "__main__":
    action, path, deployment, collection, key = sys.argv[1:6]
    place = (deployment, collection, key)
    database = sqlite3.connect(path, timeout=10)
    fernet = Fernet(os.environ["STORAGE_KEY"])
    if action == "get":
        found = get(database, fernet, place)
        print("absent" if found is None else "found " + found.decode())
    else:
        put(database, fernet, place, sys.argv[6].encode(), float(sys.argv[7]))
