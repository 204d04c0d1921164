"""Configuration for this bundle: secrets come from the environment, and no browser calls a third party."""

import os

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
# A database of its own; on a laptop SQLite will do.
SQLALCHEMY_DATABASE_URI = os.environ["SUPERSET_DATABASE_URI"]
PREVENT_UNSAFE_DB_CONNECTIONS = True
# Superset's pages hold a counting pixel of a foreign host, which this policy stops.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    # Off on a laptop alone.
    "force_https": os.environ.get("SUPERSET_FORCE_HTTPS", "1") == "1",
    "session_cookie_secure": os.environ.get("SUPERSET_FORCE_HTTPS", "1") == "1",
}
