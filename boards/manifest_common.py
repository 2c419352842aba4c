# ruff: noqa: F821
# What every lock's image freezes: names, never folders, so that nothing gets in by lying about. Held by
# tools/checks/frozen.py.
include("../firmware/manifest.py")

# MicroPython's own, of the checkout that builds
include("$(MPY_DIR)/extmod/asyncio")
require("ssl")

# third parties: `make deps` has put exactly what firmware/deps.toml pins there
package(
    "aioble", ("__init__.py", "core.py", "device.py", "peripheral.py", "server.py"), base_path="../build/deps", opt=3
)
package("microdot", ("__init__.py", "microdot.py"), base_path="../build/deps", opt=3)
package("umqtt", ("simple.py",), base_path="../build/deps", opt=3)
