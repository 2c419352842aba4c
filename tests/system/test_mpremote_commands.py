"""Every command of the real mpremote on a lock that works: on one that is nobody's yet, and on one in service."""

import ast
import asyncio
import hashlib
import os
import pty
import random

import pytest

from support.console_lab import BANNER, LIMIT_S, at_the_wire

BOTH = pytest.mark.parametrize("kind", ["unprovisioned", "open"])


@pytest.fixture
def tree(tmp_path):
    """Files to carry to the lock: text, any bytes, a folder, an empty one."""
    folder = tmp_path / "tree"
    (folder / "inner").mkdir(parents=True)
    (folder / "any.bin").write_bytes(bytes(range(256)) * 8 + random.Random(7).randbytes(3000))
    (folder / "empty").write_bytes(b"")
    (folder / "prog.py").write_text("import sys\nprint('ran', __name__, 'lock' in globals())\n")
    (folder / "inner" / "module.py").write_text("VALUE = 42\nprint('loaded')\n")
    return folder


@BOTH
async def test_exec_eval_run(tmp_path, tree, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        run = technician.mpremote
        assert await run("exec", "print('any text', 'ü€', b'\\x00\\x04')") == "any text ü€ b'\\x00\\x04'\n"
        assert await run("eval", "[1, {'a': 2}]") == "[1, {'a': 2}]\n"
        assert await run("exec", "x = 5", "exec", "print(x)") == "5\n"
        assert await run("run", str(tree / "prog.py")) == "ran __main__ True\n"
        assert "ValueError: 3" in await run("exec", "raise ValueError(3)", is_ok=False)
        assert "SyntaxError" in await run("exec", "1 +", is_ok=False)
        assert await run("exec", "import sys; print(1); sys.exit()", "exec", "print(2)") == "1\n2\n"
        long = "".join(f"a{n} = {n}\n" for n in range(800)) + "print(a799)"
        assert await run("exec", long) == "799\n"
        technician.check_quiet()


@BOTH
async def test_names_and_modules_end_with_the_connection_and_stay_with_resume(tmp_path, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        await technician.mpremote("exec", "x = 1; import errno")
        assert await technician.mpremote("resume", "exec", "print(x)") == "1\n"
        assert await technician.mpremote("exec", "print('x' in globals())") == "False\n"
        await technician.mpremote("exec", "y = 1", "soft-reset", "exec", "assert 'y' not in globals()")
        technician.check_quiet()


@BOTH
async def test_files(tmp_path, tree, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        run = technician.mpremote
        await run("cp", "-r", str(tree), ":")
        listing = (await run("ls", ":tree")).split()
        assert [name for name in ("any.bin", "empty", "inner/", "prog.py") if name not in listing] == []
        data = (tree / "any.bin").read_bytes()
        assert hashlib.sha256(data).hexdigest() in await run("sha256sum", ":tree/any.bin")
        await run("cp", ":tree/any.bin", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == data
        await run("cp", ":tree/any.bin", ":copy.bin")
        await run("cp", ":copy.bin", str(tmp_path / "back2"))
        assert (tmp_path / "back2").read_bytes() == data
        await run("cp", ":tree/empty", str(tmp_path / "nothing"))
        assert (tmp_path / "nothing").read_bytes() == b""
        assert await run("cat", ":tree/prog.py") == (tree / "prog.py").read_text()
        assert "module.py" in await run("tree", ":tree")
        await run("mkdir", ":new")
        await run("touch", ":new/here")
        assert "here" in await run("ls", ":new")
        await run("rm", ":new/here")
        await run("rmdir", ":new")
        assert "LittleFS" in (table := await run("df")) or "VfsLfs2" in table
        await run("rm", "-r", ":tree")
        assert "tree" not in await run("ls")
        assert "No such file" in await run("cat", ":tree/prog.py", is_ok=False)
        technician.check_quiet()


@BOTH
async def test_mount_runs_what_lies_on_the_technicians_side(tmp_path, tree, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        program = "import inner.module as m, os; d = open('any.bin', 'rb').read(); print(m.VALUE, len(d), hash(d) != 0)"
        code = f"{program}\nimport hashlib; print(hashlib.sha256(d).digest())\nprint(os.getcwd(), sorted(os.listdir()))"
        text = await technician.mpremote("mount", str(tree), "exec", code)
        digest = hashlib.sha256((tree / "any.bin").read_bytes()).digest()
        assert "loaded\n42 5048 True\n" in text and str(digest) in text
        assert "/remote ['any.bin', 'empty', 'inner', 'prog.py']" in text
        # with the connection its folder is gone, and the module that came from there
        check = "import os, sys; print('remote' in os.listdir('/'), 'inner.module' in sys.modules, os.getcwd())"
        assert await technician.mpremote("exec", check) == "False False /\n"
        await technician.mpremote("mount", str(tree), "exec", "open('made', 'w').write('x' * 1000)")
        assert (tree / "made").read_text() == "x" * 1000
        technician.check_quiet()


@BOTH
async def test_a_runaway_program_is_interrupted_by_the_next_connect(tmp_path, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        for program in ("while True: pass", "import time\nwhile True: time.sleep(1)", "while True: print('x' * 100)"):
            process = await technician.start("exec", program)
            await asyncio.sleep(0.5)
            process.kill()
            await process.communicate()
            await technician.check()


async def test_ctrl_c_at_the_prompt_of_mpremote_repl(tmp_path):
    async with at_the_wire(tmp_path) as technician:
        ours, theirs = pty.openpty()
        process = await technician.start("repl", stdin=theirs)
        os.close(theirs)
        heard = b""

        async def until(wanted: bytes) -> bytes:
            nonlocal heard
            async with asyncio.timeout(LIMIT_S):
                while wanted not in heard:
                    heard += await process.stdout.read(1000)
            before, _, heard = heard.partition(wanted)
            return before

        async def type_in(text: bytes) -> None:
            os.write(ours, text)

        await until(b"Ctrl-]")
        await type_in(b"\r")
        await until(b">>> ")
        await type_in(b"20 + 3\r")
        await until(b"\r\n23\r\n>>> ")
        await type_in(b"for i in range(2):\rprint('no', i)\r")
        await until(b"... ")
        await type_in(b"\r")
        await until(b"SyntaxError")
        await type_in(b"for i in range(2):\r  print('go', i)\r\r")
        await until(b"go 0\r\ngo 1\r\n>>> ")
        await type_in(b"while True: pass\r\r")
        await asyncio.sleep(0.5)
        await type_in(b"\x03")
        await until(b"KeyboardInterrupt: \r\n>>> ")
        await type_in(b"\x04")
        await until(b"MPY: soft reboot\r\n")
        await until(b">>> ")
        await type_in(b"\x1d")
        await asyncio.wait_for(process.communicate(), LIMIT_S)
        os.close(ours)
        assert process.returncode == 0
        await technician.check()


@BOTH
async def test_reset_starts_the_lock_anew(tmp_path, kind):
    async with at_the_wire(tmp_path, kind) as technician:
        lock = technician.lock
        await technician.mpremote("reset")
        async with asyncio.timeout(LIMIT_S):
            while not lock.resets:
                await asyncio.sleep(0.01)
        await lock.wait_advertising()
        assert lock.resets == [2]
        if kind == "unprovisioned":
            assert await technician.mpremote("exec", "print(1)") == "1\n"
        else:  # service ends with the start
            assert "service is closed" in await technician.mpremote("exec", "print(1)", is_ok=False)


async def test_a_closed_console_gives_mpremote_the_banner_and_nothing_else(tmp_path):
    async with at_the_wire(tmp_path, "closed") as technician:
        text = await technician.mpremote("exec", "print(1)", is_ok=False)
        heard = ast.literal_eval(text.partition("\n")[0])
        assert BANNER in heard and heard.replace(BANNER, b"") == b"" and "could not enter raw repl" in text
        technician.check_quiet()
        assert (await technician.store.open(technician.lock)).is_granted
