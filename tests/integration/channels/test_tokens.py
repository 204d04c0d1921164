"""Refresh tokens in Prefect's blocks: processes that share one take turns, or the service would end it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from infra.sample.channels.server import Answer, Asked
from tests.channels import Script, serving

_PROCESS = """
import json, sys, urllib.error, urllib.parse, urllib.request
from tasks.marketing.rest.auth import OAuthRefresh
from tasks.marketing.rest.clock import Clock
from tasks.marketing.rest.tokens import BlockTokens
from tasks.settings import Settings

def post(url, form):
    try:
        with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)

_, address, warehouse, times = sys.argv
tokens = BlockTokens(Settings(url=warehouse))
auth = OAuthRefresh(
    address, "client", "client-secret", "refresh-0", where="shop", clock=Clock(), tokens=tokens
)
for _ in range(int(times)):
    auth.refresh(post)
"""
TIMES = 6


class Family:
    """A service that ends all tokens of a family once a replaced one is shown (RFC 9700, 4.14.2)."""

    def __init__(self) -> None:
        self.given = 0
        self.revoked = False

    def __call__(self, asked: Asked) -> Any:
        self.revoked = self.revoked or asked.form["refresh_token"] != f"refresh-{self.given}"
        if self.revoked:
            return Answer({"error": "invalid_grant"}, 400)
        self.given += 1
        return {"access_token": f"access-{self.given}", "refresh_token": f"refresh-{self.given}", "expires_in": 900}


def test_processes_that_renew_one_token_take_turns(prefect_server: str, postgres_url: str) -> None:
    family = Family()
    with serving(shop=Script(family)) as url:
        command = [sys.executable, "-c", _PROCESS, f"{url}/shop/token", postgres_url, str(TIMES)]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    assert family.given == 2 * TIMES and not family.revoked
