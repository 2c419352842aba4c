"""The lock's own logic on asyncio, without hardware."""
