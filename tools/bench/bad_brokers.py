"""Brokers as bad as they get, for the benches: on a way that is slow, not to be reached, silent."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from vitrine_tools.demo.brokers import HOST


@contextlib.asynccontextmanager
async def slowly(port: int, size: int, pause_s: float, free: int = 0) -> AsyncIterator[int]:
    """A port that leads to the broker at `port`: `free` bytes each way at once, then `size` bytes in each `pause_s`."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = free
        with contextlib.suppress(OSError):
            while data := await reader.read(left or size):
                if not left:
                    await asyncio.sleep(pause_s)
                left = max(0, left - len(data))
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # asyncio's server would print it
            await lead(reader, writer)

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(HOST, port)
            await asyncio.gather(carry(reader, back), carry(there, writer))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, limit=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def hole(*, is_full: bool) -> AsyncIterator[int]:
    """A port where TCP connects but nobody speaks; or, `is_full`, does not even connect."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if is_full else 50)
        for _ in range(4 if is_full else 0):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
