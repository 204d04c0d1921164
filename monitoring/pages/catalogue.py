"""The pages by name: which there are, in which order, and which of them the report holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.pages.panels import Panel


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        name: Name of its folder of panels, and in addresses.
        title: For people.
        group: Heading it stands under.
        question: What it answers.
        days: How far back it looks unless the reader says otherwise.
        in_report: Whether the report has it as a section.
    """

    name: str
    title: str
    group: str
    question: str
    days: int = 14
    in_report: bool = False


_OPERATIONS, BUSINESS, OWN = "Operations", "Sales and marketing", "Own pages"
PAGES = (
    Page("today", "Today", _OPERATIONS, "Can the figures be trusted now?", in_report=True),
    Page("incidents", "Incidents", _OPERATIONS, "What is wrong now, and has anybody taken it?", in_report=True),
    Page("throughput", "Throughput", _OPERATIONS, "Were rows lost; too few, too many?", in_report=True),
    Page("durations", "Durations", _OPERATIONS, "What is slowing?", in_report=True),
    Page("freshness", "Freshness", _OPERATIONS, "What is stale?", in_report=True),
    Page("failures", "Failures", _OPERATIONS, "What broke first, and who acts?", in_report=True),
    Page("drift", "Schema changes", _OPERATIONS, "What changed at the source?", in_report=True),
    Page("rejects", "Rejects", _OPERATIONS, "Which rows wait for somebody?", in_report=True),
    Page("anomalies", "Anomalies", _OPERATIONS, "Is anything quietly wrong?", in_report=True),
    Page("restatement", "Restatement", _OPERATIONS, "When is a day final?", in_report=True),
    Page("reconciliation", "Reconciliation", _OPERATIONS, "Does the money agree?", in_report=True),
    Page("runs", "Runs", _OPERATIONS, "Where is the critical path?"),
    Page("table", "One table", _OPERATIONS, "How did this table behave?", days=30),
    Page("models", "Models and tests", _OPERATIONS, "Which rule broke?", in_report=True),
    Page("resources", "Resources and cost", _OPERATIONS, "What does it cost?", in_report=True),
    Page("overview", "Overview", BUSINESS, "How are we doing?", days=90),
    Page("channels", "Channels and campaigns", BUSINESS, "Where to put the next euro?", days=90),
    Page("attribution", "Attribution", BUSINESS, "Who really earned it?", days=90),
    Page("cohorts", "Cohorts and lifetime value", BUSINESS, "Do customers come back, when is CAC paid?", days=365),
    Page("funnel", "Funnel", BUSINESS, "Where do they leave?", days=90),
    Page("customers", "Customers", BUSINESS, "Whom to write to?", days=365),
    Page("products", "Products", BUSINESS, "What sells, and what is earned with it?", days=90),
)
"""The product's pages in their order."""


def report_pages() -> list[Page]:
    """Return the pages that are sections of the report."""
    return [page for page in PAGES if page.in_report]


def own_pages(panels: Sequence[Panel]) -> list[Page]:
    """Return the pages that a company's own panels make, each with the title of its first panel's page."""
    names = dict.fromkeys(panel.page for panel in panels)
    return [Page(name, name.replace("_", " ").capitalize(), OWN, "", days=90) for name in names]
