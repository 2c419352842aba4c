"""MQTT: carries app.sync's messages to the broker and back, over umqtt.simple on a thread of its own (SPEC.md 10).

umqtt blocks, and a broker can be slow, silent or gone: on the event loop that would hold up a person at the door. The
thread and the loop share a mailbox of bounded queues behind one lock, and a ThreadSafeFlag; nothing else, because the
unix port's threads run truly at once. Each connection is one thread; it ends with it.

On ESP32 mbedTLS computes with the interpreter's lock held: a handshake is *some tenths of a second* in which nothing
else runs. It comes once for each connection, and connections have pauses between them.
"""

import _thread
import asyncio
import errno
import ssl
import struct
import time

from micropython import const
from umqtt.simple import MQTTClient, MQTTException

from vitrine.app.sync import COMMAND, DOWN, RECEIVED, RETAINED, SENT, UP, UPDATE

from .mqtt_wire import Wire, WireError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from .mqtt_settings import MqttSettings

_KEEP_ALIVE_S = const(60)
_PING_MS = const(30_000)
_SILENCE_MS = const(90_000)
_TCP_MS = const(10_000)
_TLS_MS = const(20_000)
_PACKET_MS = const(10_000)
_IDLE_MS = const(50)  # how long a message of ours may wait while the thread listens ...
_BUSY_MS = const(2)  # ... and in the moments after another, when an answer or the next one is likely
_MOMENT_MS = const(200)
_OUT_MAX = const(6)
_IN_MAX = const(8)
_COMMANDS_MAX = const(2)  # of those: they are long
_ACKNOWLEDGEMENT_MAX = const(64)
_STACK_SIZE = const(16 * 1024)  # mbedTLS's handshake needs about 8 KB of it
_CONNACK = const(b"\x20\x02")
_PID_MAX = const(65_000)
# clean session; will with QoS 1, retained (MQTT 3.1.1 section 3.1.2.3)
_CONNECT_FLAGS = const(0x02 | 0x04 | 0x08 | 0x20)


class Client(MQTTClient):
    """umqtt's client over a Wire, with a last will. Works with umqtt.simple 1.3.4 and later."""

    def __init__(self, wire: Wire, client_id: bytes, will_topic: bytes, will: bytes) -> None:
        super().__init__(client_id, "", 1)
        self.sock = self.wire = wire
        self._will_topic = will_topic
        self._will = will

    def greet(self) -> None:
        """Send CONNECT in one packet and read CONNACK (MQTT 3.1.1 sections 3.1, 3.2). Raises MQTTException."""
        body = bytearray(b"\x00\x04MQTT\x04")
        body.append(_CONNECT_FLAGS)
        body.extend(struct.pack("!H", _KEEP_ALIVE_S))
        for field in (self.client_id, self._will_topic, self._will):
            body.extend(struct.pack("!H", len(field)))
            body.extend(field)
        size = len(body)
        self.wire.write(bytes((0x10, size)) if size < 128 else bytes((0x10, size & 0x7F | 0x80, size >> 7)))
        self.wire.write(body)
        answer = self.wire.read(4)
        if answer[:2] != _CONNACK:
            raise WireError
        if answer[3]:
            raise MQTTException(answer[3])

    def send(self, topic: bytes, payload: bytes, is_retained: bool) -> None:
        """Publish with QoS 1; returns when the broker has it."""
        self.wire.begin(_PACKET_MS)
        if self.pid >= _PID_MAX:
            self.pid = 0  # umqtt counts on for ever, in 16 bits
        self.publish(topic, payload, is_retained, 1)

    def listen(self) -> None:
        """Take what has arrived, and answer it."""
        self.wire.begin(_PACKET_MS)
        self.wait_msg()
        self.wire.flush()

    def patience_ms(self) -> int:
        """How long to listen before looking for a message of ours."""
        now_ms = time.ticks_ms()
        wire = self.wire
        silent_ms = min(time.ticks_diff(now_ms, wire.heard_ms), time.ticks_diff(now_ms, wire.spoken_ms))
        return _BUSY_MS if silent_ms < _MOMENT_MS else _IDLE_MS

    def keep_alive(self) -> None:
        """Ping in time; OSError if nothing was heard for too long."""
        now_ms = time.ticks_ms()
        if time.ticks_diff(now_ms, self.wire.heard_ms) > _SILENCE_MS:
            raise OSError(errno.ETIMEDOUT)
        if time.ticks_diff(now_ms, self.wire.spoken_ms) > _PING_MS:
            self.wire.begin(_PACKET_MS)
            self.ping()
            self.wire.flush()


class _Mailbox:
    """What the two threads of one connection share."""

    def __init__(self, flag: asyncio.ThreadSafeFlag) -> None:
        self._lock = _thread.allocate_lock()
        self._flag = flag
        self._out = []
        self._in = []
        self.is_closing = False
        self.dropped = 0

    def offer(self, message) -> bool:
        """From the loop: queue a message to be sent; False if there are too many already."""
        with self._lock:
            if len(self._out) >= _OUT_MAX:
                return False
            self._out.append(message)
            return True

    def room(self) -> int:
        with self._lock:
            return _OUT_MAX - len(self._out)

    def collect(self):
        """From the loop: the oldest event, or None."""
        with self._lock:
            return self._in.pop(0) if self._in else None

    def take(self):
        """From the thread: the oldest message to send, or None. It keeps its place until `sent`."""
        with self._lock:
            return self._out[0] if self._out else None

    def sent(self) -> None:
        with self._lock:
            self._out.pop(0)
        self.post(SENT, None)

    def wait_for_room(self) -> None:
        """From the thread: let the loop take its commands first. Who floods us waits, and nothing is lost."""
        while not self.is_closing:
            with self._lock:
                waiting = sum([event[0] in (COMMAND, UPDATE) for event in self._in])
                if waiting < _COMMANDS_MAX and len(self._in) < _IN_MAX:
                    return
            time.sleep_ms(_BUSY_MS)

    def post(self, kind: int, value) -> None:
        """From the thread: tell the loop. A flood from the broker is cut; the end always comes through."""
        with self._lock:
            if len(self._in) < _IN_MAX or kind == DOWN:
                self._in.append((kind, value))
            else:
                self.dropped += 1
        self._flag.set()


class MqttLink:
    """MqttLink(settings, lock_id, groups): the link of app.sync.Sync. One connection at a time."""

    def __init__(self, settings: "MqttSettings", lock_id: str, groups: "list[str] | tuple[()]" = ()) -> None:
        self.heartbeat_s = settings.heartbeat_s
        self._settings = settings
        self._root = "vitrine/" + lock_id + "/"
        self._client_id = ("vitrine-" + lock_id).encode()
        self._commands = [self._topic("command")]
        for group in groups:
            self._commands.append(("vitrine/" + group.replace(":", "/") + "/command").encode())
        self._flag = asyncio.ThreadSafeFlag()
        self._mailbox = None

    def open(self) -> None:
        """Begin to connect; `next` tells how it goes. A connection that is still there ends first."""
        self.close()
        self._mailbox = mailbox = _Mailbox(self._flag)
        before = _thread.stack_size(_STACK_SIZE)
        try:
            _thread.start_new_thread(self._work, (mailbox,))
        except (OSError, RuntimeError, MemoryError):
            mailbox.post(DOWN, "thread")
        finally:
            _thread.stack_size(before)

    def close(self) -> None:
        """Let the connection end, soon and by itself."""
        if self._mailbox is not None:
            self._mailbox.is_closing = True

    def wake(self) -> None:
        """Have `next` return."""
        self._flag.set()

    def has_room(self) -> bool:
        """Whether a batch can be sent now; a place is always left for the state."""
        return self._mailbox is not None and self._mailbox.room() > 1

    def send(self, suffix: str, payload: bytes, is_retained: bool) -> bool:
        """Queue a message to vitrine/LOCK/`suffix`; False if there is no room."""
        return self._mailbox is not None and self._mailbox.offer((suffix, payload, is_retained))

    async def next(self, timeout_ms: int) -> "tuple[int, Any] | None":
        """Return the next event, or None after `timeout_ms` or a wake()."""
        event = self._collect()
        if event is None:
            try:
                await asyncio.wait_for_ms(self._flag.wait(), timeout_ms)
            except asyncio.TimeoutError:
                return None
            event = self._collect()
        return event

    def _collect(self) -> "tuple[int, Any] | None":
        return None if self._mailbox is None else self._mailbox.collect()

    # --- on the thread ---

    def _work(self, mailbox: _Mailbox) -> None:
        """Live through one connection and tell how it ended. Nothing may escape: nobody would hear of it."""
        cause = "closed"
        wire = Wire()
        is_up = False
        try:
            client = self._connect(wire, mailbox)
            is_up = True
            mailbox.post(UP, None)
            self._serve(client, mailbox)
        except OSError as error:
            cause = _cause(error.errno, is_up, wire.is_wrapped)
        except ValueError:
            cause = "tls"  # a wrong CA, name or date; or a key that is none
        except MQTTException:
            cause = "denied"
        except MemoryError:
            cause = "memory"
        except Exception:  # noqa: BLE001
            cause = "protocol"  # umqtt asserts and indexes its way through what a broker sends
        finally:
            wire.close()
            mailbox.post(DOWN, cause)

    def _connect(self, wire: Wire, mailbox: _Mailbox) -> Client:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
        wire.open(settings.host, settings.port, context, _TCP_MS)
        client = Client(wire, self._client_id, self._topic("availability"), b"offline")
        acknowledgement = self._topic("acknowledgement")
        commands = self._commands
        update = self._topic("update")

        def received(topic: bytes, payload: bytes) -> None:
            is_retained = wire.take_retained()
            if topic == acknowledgement:
                mailbox.post(RECEIVED, payload if len(payload) <= _ACKNOWLEDGEMENT_MAX else b"")
            elif topic in commands and is_retained:
                mailbox.post(RETAINED, None)
            elif topic in commands or (topic == update and not is_retained):
                mailbox.wait_for_room()
                mailbox.post(UPDATE if topic == update else COMMAND, payload)
                wire.begin(_PACKET_MS)  # the broker did not wait, we did

        client.set_callback(received)
        wire.begin(_TLS_MS)
        client.greet()
        wire.begin(_PACKET_MS)
        client.subscribe(acknowledgement, 1)
        for topic in commands + [update]:
            client.subscribe(topic, 1)
        return client

    def _serve(self, client: Client, mailbox: _Mailbox) -> None:
        while not mailbox.is_closing:
            message = mailbox.take()
            if message is not None:
                client.send(self._topic(message[0]), message[1], message[2])
                mailbox.sent()
            elif client.wire.wait(client.patience_ms()):
                client.listen()
            client.keep_alive()
        client.send(self._topic("availability"), b"offline", True)
        client.wire.begin(_PACKET_MS)
        client.wire.write(b"\xe0\x00")  # DISCONNECT; umqtt's own would close before it is flushed
        client.wire.flush()

    def _topic(self, suffix: str) -> bytes:
        return (self._root + suffix).encode()


def _cause(number: "int | None", is_up: bool, is_wrapped: bool) -> str:
    """Return a word for an OSError: what a technician can act on."""
    if number == errno.ETIMEDOUT:
        return "timeout"
    if is_up:
        return "closed"
    # a broker that wants another certificate, or none of ours, breaks off the handshake
    return "tls" if is_wrapped else "refused" if number == errno.ECONNREFUSED else "unreachable"
