"""The decoders under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.landing.decoder import Decoder, make_decoder, native_available

NEEDS_NATIVE = pytest.mark.skipif(not native_available(), reason="the native decoder is not built")


@pytest.fixture(params=["reference", "driver", pytest.param("native", marks=NEEDS_NATIVE)])
def make(request: pytest.FixtureRequest) -> Callable[..., Decoder]:
    """Return `make_decoder`, bound to each implementation in turn."""

    def bound(**options: Any) -> Decoder:
        return make_decoder(implementation=request.param, **options)

    return bound
