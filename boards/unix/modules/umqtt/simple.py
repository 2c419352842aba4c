"""Stand-in for umqtt.simple where it cannot be had: the same API and the same habits, MQTT 3.1.1 with QoS 0 and 1.

Its habits matter as much as its API: it writes in pieces, it asserts what a broker should send, it sets the socket
back to blocking when a message has begun, and it hands a message to the callback before it acknowledges it.
"""

import socket
import struct


class MQTTException(Exception):
    pass


class MQTTClient:
    def __init__(
        self,
        client_id,
        server,
        port=0,
        user=None,
        password=None,
        keepalive=0,
        ssl=None,
        ssl_params={},  # noqa: B006
    ):
        self.client_id = client_id
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.user = user
        self.pswd = password
        self.keepalive = keepalive
        self.ssl = ssl
        self.ssl_params = ssl_params
        self.sock = None
        self.pid = 0
        self.cb = None
        self.lw_topic = None
        self.lw_msg = None
        self.lw_qos = 0
        self.lw_retain = False

    def set_callback(self, f):
        self.cb = f

    def set_last_will(self, topic, msg, retain=False, qos=0):
        assert 0 <= qos <= 2 and topic
        self.lw_topic, self.lw_msg, self.lw_retain, self.lw_qos = topic, msg, retain, qos

    def connect(self, clean_session=True, timeout=None):
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        self.sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
        if self.ssl:
            self.sock = self.ssl.wrap_socket(self.sock, server_hostname=self.server)
        flags = 0x02 if clean_session else 0
        fields = [self.client_id]
        if self.lw_topic:
            flags |= 0x04 | self.lw_qos << 3 | self.lw_retain << 5
            fields += [self.lw_topic, self.lw_msg]
        if self.user is not None:
            flags |= 0xC0
            fields += [self.user, self.pswd]
        self._head(0x10, 10 + sum([2 + len(field) for field in fields]))
        self.sock.write(b"\x00\x04MQTT\x04" + struct.pack("!BH", flags, self.keepalive))
        for field in fields:
            self._string(field)
        answer = self.sock.read(4)
        assert answer[:2] == b"\x20\x02"
        if answer[3]:
            raise MQTTException(answer[3])
        return answer[2] & 1

    def disconnect(self):
        self.sock.write(b"\xe0\x00")
        self.sock.close()

    def ping(self):
        self.sock.write(b"\xc0\x00")

    def publish(self, topic, msg, retain=False, qos=0):
        assert qos < 2
        self._head(0x30 | qos << 1 | retain, 2 + len(topic) + 2 * qos + len(msg))
        self._string(topic)
        if qos:
            pid = self._next_pid()
            self.sock.write(struct.pack("!H", pid))
        self.sock.write(msg)
        while qos:
            if self.wait_msg() == 0x40:
                assert self.sock.read(1) == b"\x02"
                if struct.unpack("!H", self.sock.read(2))[0] == pid:
                    return

    def subscribe(self, topic, qos=0):
        assert self.cb is not None, "Subscribe callback is not set"
        self._head(0x82, 5 + len(topic))
        pid = self._next_pid()
        self.sock.write(struct.pack("!H", pid))
        self._string(topic)
        self.sock.write(bytes((qos,)))
        while self.wait_msg() != 0x90:
            pass
        answer = self.sock.read(4)
        assert struct.unpack("!H", answer[1:3])[0] == pid
        if answer[3] == 0x80:
            raise MQTTException(answer[3])

    def wait_msg(self):
        first = self.sock.read(1)
        self.sock.setblocking(True)
        if first is None:
            return None
        if first == b"":
            raise OSError(-1)
        op = first[0]
        if op == 0xD0:  # PINGRESP
            assert self.sock.read(1) == b"\x00"
            return None
        if op & 0xF0 != 0x30:
            return op
        size = self._recv_len()
        topic_size = struct.unpack("!H", self.sock.read(2))[0]
        topic = self.sock.read(topic_size)
        size -= 2 + topic_size
        if op & 6:
            pid = self.sock.read(2)
            size -= 2
        message = self.sock.read(size)
        self.cb(topic, message)
        assert op & 6 != 4
        if op & 6 == 2:
            self.sock.write(b"\x40\x02" + pid)
        return op

    def check_msg(self):
        self.sock.setblocking(False)
        return self.wait_msg()

    def _next_pid(self):
        self.pid += 1
        return self.pid

    def _string(self, text):
        self.sock.write(struct.pack("!H", len(text)))
        self.sock.write(text)

    def _head(self, first, size):
        head = bytearray((first,))
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        self.sock.write(head)

    def _recv_len(self):
        size = shift = 0
        while True:
            byte = self.sock.read(1)[0]
            size |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return size
            shift += 7
