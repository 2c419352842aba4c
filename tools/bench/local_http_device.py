"""Plain microdot with one route, on MicroPython: what the lock's own server is measured beside.

micropython tools/bench/local_http_device.py PORT      prints the bytes of heap that the import took, then serves
"""

import asyncio
import gc
import sys

gc.collect()
before = gc.mem_alloc()
from microdot import Microdot  # noqa: E402

gc.collect()
print(gc.mem_alloc() - before)
app = Microdot()


@app.route("/v1/hello")
def hello(request):
    return {"lock": "case-12", "version": 1, "nonce": "AAAAAAAAAAAAAAAAAAAAAA", "time": 1, "audit": [0, ""]}


asyncio.run(app.start_server(host="127.0.0.1", port=int(sys.argv[1])))
