"""The base job template of the work pool, with what differs between clusters filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("base-job-template.json")
# What the manifests know and the template must agree with: kustomize sets these on the worker.
_DEFAULTS = {
    "WAREHOUSE_IMAGE": "image",
    "WAREHOUSE_PULL_POLICY": "image_pull_policy",
    "WAREHOUSE_NAMESPACE": "namespace",
}
# JSON in the environment: the pool of nodes that flow runs go to.
_JSON_DEFAULTS = {
    "WAREHOUSE_NODE_SELECTOR": "node_selector",
    "WAREHOUSE_TOLERATIONS": "tolerations",
}


def base_job_template(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the template for `warehouse deploy` to apply.

    Args:
        environment: Variables; `WAREHOUSE_IMAGE`, `WAREHOUSE_PULL_POLICY`, `WAREHOUSE_NAMESPACE`,
            `WAREHOUSE_NODE_SELECTOR` and `WAREHOUSE_TOLERATIONS` (both JSON) change the defaults of the variables.

    Raises:
        ValueError: A variable that must be JSON is not.
    """
    template: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    properties = template["variables"]["properties"]
    for name, variable in _DEFAULTS.items():
        if environment.get(name):
            properties[variable]["default"] = environment[name]
    for name, variable in _JSON_DEFAULTS.items():
        if environment.get(name):
            try:
                properties[variable]["default"] = json.loads(environment[name])
            except json.JSONDecodeError as error:
                raise ValueError(f"{name} is not JSON: {error}") from None
    return template
