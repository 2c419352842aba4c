# ruff: noqa: F821
include("../manifest_common.py")
module("board.py", base_path="modules", opt=3)
