"""Debian's mosquitto for one test: TLS with required client certificates, a free port, a private folder."""

import pytest

from vitrine_tools.demo.brokers import HOST, MOSQUITTO, Mosquitto

__all__ = ["HOST", "MOSQUITTO", "Mosquitto", "broker", "needs_mosquitto"]

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")


@pytest.fixture
async def broker(tmp_path):
    """A broker that runs."""
    folder = tmp_path / "broker"
    folder.mkdir()
    mosquitto = Mosquitto(folder)
    await mosquitto.start()
    yield mosquitto
    await mosquitto.stop()
