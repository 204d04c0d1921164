"""What goes wrong in the last weeks of the demo's shop: one incident of each kind that monitoring finds.

| incident | what happens on its day |
|---|---|
| `no spend` | Meta tells nothing of the day |
| `doubled spend` | LinkedIn's export counts the day twice |
| `zero spend` | Google tells zeros, where there was never one |
| `no visits` | orders do not name their visit: the tag of the web analysis was lost |
| `wrong prices` | the shop sells at a hundredth of its prices: a price list in cents was read as euros |
"""

from __future__ import annotations

DAYS_BACK = {"no spend": 5, "doubled spend": 6, "zero spend": 7, "no visits": 8, "wrong prices": 9}
"""How many days before the last one each incident is: old enough to be final, and within the first look's two weeks."""

PLATFORMS = {"no spend": "meta_ads", "doubled spend": "linkedin_ads", "zero spend": "google_ads"}
"""The platform whose spend an incident is of."""
