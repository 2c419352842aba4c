"""Nothing personal in files, such as a dump of a broker's messages or an image of a lock's flash.

python tools/checks/personal_data.py FILE...      exit 1 and a line for each finding, which never repeats it; 2 if
                                                  a file cannot be read
"""

import sys
from pathlib import Path

from vitrine_tools import personal_data


def main(paths: list[str]) -> int:
    """Scan the files; return the exit status."""
    try:
        found = [(path, finding) for path in paths for finding in personal_data.find(Path(path).read_bytes())]
    except OSError as error:
        print(f"cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    for path, finding in found:
        print(f"{path}: {finding.kind} at byte {finding.offset} ({finding.size} bytes)", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("say which files to scan")
    sys.exit(main(sys.argv[1:]))
