"""The versions of services' APIs that the channels speak, and their last days as far as they are known.

A run warns 60 days before one ends. Dates marked so are projected from the service's own rhythm; look them up again
when a channel's version is changed.
"""

from __future__ import annotations

from datetime import date

from tasks.marketing.rest.channel import Ending

ENDS: dict[str, dict[str, date | None]] = {
    "ga4": {"v1beta": None},
    "google_ads": {
        "v22": date(2026, 10, 7),
        # Projected: a version lives about a year.
        "v23": date(2027, 2, 28),
        "v24": date(2027, 5, 31),
        "v25": date(2027, 8, 31),
        "v26": date(2027, 11, 30),
    },
    "meta_ads": {"v24.0": date(2026, 11, 10), "v25.0": date(2027, 2, 23), "v26.0": None, "v27.0": None},
    "tiktok_ads": {"v1.3": None},
    # A version lives twelve months.
    "linkedin_ads": {
        "202511": date(2026, 11, 16),
        "202601": date(2027, 1, 15),
        "202602": date(2027, 2, 15),
        "202603": date(2027, 3, 16),
        "202607": date(2027, 7, 15),
        "202610": date(2027, 10, 15),
    },
    "microsoft_ads": {"v13": None},
    "klaviyo": {"2024-10-15": date(2026, 10, 15), "2026-10-15": None},
}
"""By channel and version its last day; None where nothing is announced."""

CURRENT = {
    "ga4": "v1beta",
    "google_ads": "v26",
    "meta_ads": "v26.0",
    "tiktok_ads": "v1.3",
    "linkedin_ads": "202610",
    "microsoft_ads": "v13",
    "klaviyo": "2026-10-15",
}
"""By channel the version that it asks for where sources.yaml names none."""


def ending(channel: str, version: str) -> Ending:
    """Return when a version ends."""
    later = (
        f"set `version` to {CURRENT[channel]}"
        if version != CURRENT[channel]
        else "upgrade to the product's next release"
    )
    return Ending(f"{channel} API {version}", ENDS[channel].get(version), later)
