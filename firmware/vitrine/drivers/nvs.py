"""Blobs and numbers in the chip's non-volatile storage (ESP-IDF NVS: wear-levelled, each write whole or not at all)."""

from esp32 import NVS
from micropython import const

BLOB_MAX = const(1984)  # the largest blob that fits in one NVS page, whole

# ESP_ERR_NVS_NOT_FOUND, as MicroPython hands it on
_NOT_FOUND = const(-0x1102)


class Blob:
    """One key of one namespace (each at most 15 characters)."""

    def __init__(self, namespace: str, key: str) -> None:
        self._nvs = NVS(namespace)
        self._key = key

    def load(self) -> "bytes | None":
        """Return what was saved last, or None if nothing was; OSError if the storage cannot be read."""
        buffer = bytearray(BLOB_MAX)
        try:
            size = self._nvs.get_blob(self._key, buffer)
        except OSError as error:
            if error.errno == _NOT_FOUND:
                return None
            raise
        return bytes(memoryview(buffer)[:size])

    def save(self, data: bytes) -> None:
        """Make `data` durable before returning; OSError if it is not, ValueError over BLOB_MAX."""
        if len(data) > BLOB_MAX:
            raise ValueError("blob too long")
        self._nvs.set_blob(self._key, data)
        self._nvs.commit()

    def remove(self) -> None:
        """Forget the blob, if there is one."""
        try:
            self._nvs.erase_key(self._key)
        except OSError as error:
            if error.errno != _NOT_FOUND:
                raise
        self._nvs.commit()


class Integer:
    """One number of 32 bits, without a sign, of one namespace. Dearer in room than in wear: 32 bytes for each save."""

    def __init__(self, namespace: str, key: str) -> None:
        self._nvs = NVS(namespace)
        self._key = key

    def load(self) -> "int | None":
        """Return what was saved last, or None if nothing was; OSError if the storage cannot be read."""
        try:
            return self._nvs.get_i32(self._key) & 0xFFFFFFFF
        except OSError as error:
            if error.errno == _NOT_FOUND:
                return None
            raise

    def save(self, value: int) -> None:
        """Make `value` modulo 2**32 durable before returning; OSError if it is not."""
        # the chip's integers have a sign
        self._nvs.set_i32(self._key, ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000)
        self._nvs.commit()
