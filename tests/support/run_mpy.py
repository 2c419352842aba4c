"""Run one portable test file on MicroPython; print one JSON line for each test.

micropython tests/support/run_mpy.py FILE [NAME ...]   (MICROPYPATH: firmware, tests, .frozen)
"""

import io
import json
import sys

from support import Skipped


def main(path, names):
    folder, _, file = path.rpartition("/")
    sys.path.insert(0, folder)
    module = __import__(file[:-3])
    for name in sorted(dir(module)):
        test = getattr(module, name)
        if not name.startswith("test_") or not callable(test) or (names and name not in names):
            continue
        outcome, detail = "passed", ""
        try:
            test()
        except Skipped as reason:
            outcome, detail = "skipped", str(reason)
        except Exception as error:  # whatever a test raises is its result
            text = io.StringIO()
            sys.print_exception(error, text)
            outcome, detail = "failed", text.getvalue()
        print("@" + json.dumps({"name": name, "outcome": outcome, "detail": detail}))


main(sys.argv[1], sys.argv[2:])
