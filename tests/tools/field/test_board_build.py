"""What MicroPython's build is told about a board, by CMake itself as far as that goes without the port and ESP-IDF."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vitrine_tools.field import boards, partitions
from vitrine_tools.field.chips import CHIPS

CMAKE = shutil.which("cmake")
VARIANT_FILE = re.compile(r"mpconfigvariant_(\w+)\.cmake")
USUAL_MIB = {"VITRINE_ESP32": 4, "VITRINE_ESP32C3": 4, "VITRINE_ESP32S3": 8}

# as ports/esp32/CMakeLists.txt does it, with the names that the port defines
PORT = """
set(MICROPY_BOARD_DIR {folder})
set(MICROPY_BOARD_VARIANT "{variant}")
set(CMAKE_BINARY_DIR {build})
include(${{MICROPY_BOARD_DIR}}/mpconfigboard.cmake)
if(NOT MICROPY_BOARD_VARIANT)
    include(${{MICROPY_BOARD_DIR}}/mpconfigvariant.cmake OPTIONAL)
else()
    include(${{MICROPY_BOARD_DIR}}/mpconfigvariant_${{MICROPY_BOARD_VARIANT}}.cmake)
endif()
foreach(name IDF_TARGET SDKCONFIG_DEFAULTS MICROPY_FROZEN_MANIFEST MICROPY_SOURCE_BOARD)
    message(STATUS "${{name}}=${{${{name}}}}")
endforeach()
"""


def variants(name: str) -> list[str]:
    files = (VARIANT_FILE.fullmatch(path.name) for path in (boards.BOARDS / name).iterdir())
    return ["", *sorted(match[1] for match in files if match)]


CASES = [(name, variant) for name in boards.names() for variant in variants(name)]


@pytest.fixture
def port(tmp_path):
    """A port with the common files of the chips, and nothing in them but their name."""
    (tmp_path / "boards").mkdir()
    for chip in CHIPS:
        (tmp_path / "boards" / f"mpconfigboard_{chip}_common.cmake").write_text(
            f"set(IDF_TARGET {chip})\nset(SDKCONFIG_DEFAULTS boards/sdkconfig.base)\n"
        )
    return tmp_path


@pytest.mark.skipif(CMAKE is None, reason="no cmake")
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_build_gets_what_the_variant_says(port, name, variant):
    folder = boards.BOARDS / name
    (port / "port.cmake").write_text(PORT.format(folder=folder, variant=variant, build=port / "build"))
    run = subprocess.run([str(CMAKE), "-P", "port.cmake"], cwd=port, capture_output=True, text=True, check=True)
    told = dict(line.removeprefix("-- ").split("=", 1) for line in run.stdout.splitlines())
    assert told["IDF_TARGET"] == boards.load(name).chip.name
    assert Path(told["MICROPY_FROZEN_MANIFEST"]) == folder / "manifest.py"
    assert [Path(path).name for path in told["MICROPY_SOURCE_BOARD"].split(";")] == ["panic.c"]
    base, *ours = told["SDKCONFIG_DEFAULTS"].split(";")
    assert base == "boards/sdkconfig.base"
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in ours)
    secure = ["sdkconfig.secure"] if variant.startswith("SECURE") else []
    assert [Path(path).name for path in ours] == ["sdkconfig.lock", "sdkconfig.board", "sdkconfig.flash", *secure]
    size = re.search(r"(\d+)M$", variant)
    mib = int(size[1]) if size else USUAL_MIB[name]
    flash = dict(line.split("=", 1) for line in Path(ours[2]).read_text().splitlines())
    table = Path(flash.pop("CONFIG_PARTITION_TABLE_CUSTOM_FILENAME").strip('"'))
    assert flash == {f"CONFIG_ESPTOOLPY_FLASHSIZE_{mib}MB": "y"}
    assert partitions.load(table) == boards.load(name).tables[mib * 1024 * 1024]


def test_each_board_has_production_for_each_of_its_sizes():
    for name in boards.names():
        found = set(variants(name))
        assert {"SECURE"} | {f"SECURE_{variant}" for variant in found if re.fullmatch(r"\d+M", variant)} <= found
