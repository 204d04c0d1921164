"""Meta's lists of actions as rows, of which exactly one of several names for the same thing is counted.

A purchase is told as `purchase`, `omni_purchase` and `offsite_conversion.fb_pixel_purchase` at once, each holding some
of the others: their sum counts it several times. So each row says which `action_group` it belongs to, and only the
widest name of a group is `is_counted`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# The widest first: omni holds all channels.
_PREFIXES = (
    "omni_",
    "",
    "onsite_web_app_",
    "onsite_web_",
    "web_in_store_",
    "offsite_conversion.fb_pixel_",
    "app_custom_event.fb_mobile_",
    "onsite_conversion.",
    "onsite_app_",
)
_LONGEST_FIRST = tuple(sorted(filter(None, _PREFIXES), key=len, reverse=True))


def group_of(action_type: str) -> tuple[str, int]:
    """Return what an action is, and how wide its name is: 0 is the widest."""
    for prefix in _LONGEST_FIRST:
        if action_type.startswith(prefix):
            return action_type.removeprefix(prefix), _PREFIXES.index(prefix)
    return action_type, _PREFIXES.index("")


def action_rows(record: Mapping[str, Any], windows: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield one row for each type of action of a record of insights.

    Args:
        record: The record, with `actions` and `action_values`.
        windows: The attribution windows that were asked for.
    """
    counts = {str(action["action_type"]): action for action in record.get("actions") or ()}
    values = {str(action["action_type"]): action for action in record.get("action_values") or ()}
    widest: dict[str, int] = {}
    for name in (*counts, *values):
        group, width = group_of(name)
        widest[group] = min(width, widest.get(group, width))
    for name in dict.fromkeys((*counts, *values)):
        group, width = group_of(name)
        row = {"action_type": name, "action_group": group, "is_counted": width == widest[group]}
        row |= {"actions": counts.get(name, {}).get("value"), "action_value": values.get(name, {}).get("value")}
        for window in windows:
            row[f"actions_{window}"] = counts.get(name, {}).get(window)
            row[f"value_{window}"] = values.get(name, {}).get(window)
        yield row


def counted(record: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return number and value of one group of actions, null where there was none."""
    for row in action_rows(record, ()):
        if row["action_group"] == group and row["is_counted"]:
            return {f"{group}s": row["actions"], f"{group}_value": row["action_value"]}
    return {f"{group}s": None, f"{group}_value": None}
