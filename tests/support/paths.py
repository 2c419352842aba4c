"""Where things are, for host tests."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
FIRMWARE = ROOT / "firmware"
SHARED_VECTORS = ROOT.parent / "shared" / "vectors"
