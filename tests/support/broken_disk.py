"""A file system with one file in it whose bytes cannot be read from some place on, as on a disk
that is broken there. A process of its own serves it, in a mount namespace of its own; `run` has a
command run there."""
import contextlib
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess

from harness import Skip

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

# Numbers and layouts of linux/fuse.h.
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, INIT = 1, 2, 3, 14, 15, 18, 26
FLUSH, INTERRUPT, BATCH_FORGET = 25, 36, 42
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
ROOT, FILE = 1, 2
FOREVER = 1 << 30
REQUEST_MAX = 1 << 20


def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Disk:
    """Answers the kernel's requests. What lies at `broken` or after it in `data` is lost."""

    def __init__(self, data, broken):
        self.data, self.broken = data, broken

    def attributes(self, node):
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        size = 0 if node == ROOT else len(self.data)
        return ATTRIBUTES.pack(node, size, (size + 511) // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)

    def lookup(self, _, name):
        if name != b"file\0":
            return -errno.ENOENT
        return struct.pack("<QQQQII", FILE, 0, FOREVER, FOREVER, 0, 0) + self.attributes(FILE)

    def read(self, _, body):
        offset, size = struct.unpack_from("<8xQI", body)
        end = min(offset + size, len(self.data))
        return -errno.EIO if end > self.broken else self.data[offset:end]

    def answer(self, kind, node, body):
        """Bytes, -errno, or None where nothing is to be said."""
        if kind in (FORGET, BATCH_FORGET, INTERRUPT):
            return None
        if kind == INIT:
            major, minor, ahead = struct.unpack_from("<III", body)
            return struct.pack("<IIIIHHIIHH32x", major, min(minor, 31), ahead, 0, 16, 12, 4096, 1,
                               0, 0)
        if kind == GETATTR:
            return struct.pack("<QII", FOREVER, 0, 0) + self.attributes(node)
        if kind == OPEN:
            return struct.pack("<QIi", 0, 0, 0)
        if kind in (RELEASE, FLUSH):
            return b""
        known = {LOOKUP: self.lookup, READ: self.read}
        return known[kind](node, body) if kind in known else -errno.ENOSYS

    def serve(self, device):
        """Until the file system is gone."""
        while True:
            try:
                request = os.read(device, REQUEST_MAX)
            except OSError as failure:
                if failure.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return
            _, kind, unique, node, *_ = IN_HEADER.unpack_from(request)
            said = self.answer(kind, node, request[IN_HEADER.size:])
            if said is None:
                continue
            data, error = (b"", said) if isinstance(said, int) else (said, 0)
            with contextlib.suppress(FileNotFoundError):  # whoever asked is gone
                os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(data), error, unique) + data)


def mount(folder):
    """In a namespace of our own, which `call` raises OSError for where it may not be."""
    uid, gid = os.getuid(), os.getgid()
    call(LIBC.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid),
                           ("gid_map", "0 %d 1" % gid)):
            with open("/proc/self/" + name, "w", encoding="ascii") as file:
                file.write(text)
    call(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    call(LIBC.mount(b"broken", os.fsencode(folder), b"fuse", 0,
                    b"fd=%d,rootmode=40755,user_id=0,group_id=0,max_read=131072" % device))
    return device


def serve(folder, disk, ready):
    try:
        device = mount(folder)
    except OSError as failure:
        os.write(ready, b"%d" % failure.errno)
        os._exit(0)
    os.write(ready, b"0")
    os.close(ready)
    disk.serve(device)
    os._exit(0)


@contextlib.contextmanager
def broken_disk(folder, data, broken):
    """Yields the arguments to put before a command which is to see the disk at `folder`."""
    reading, writing = os.pipe()
    server = os.fork()
    if server == 0:
        os.close(reading)
        serve(folder, Disk(data, broken), writing)
    os.close(writing)
    try:
        with open(reading, "rb") as file:
            error = int(file.read())
        if error:
            raise Skip("no file system may be mounted: " + os.strerror(error))
        enter = ["nsenter", "--target", str(server), "--mount"]
        yield enter + (["--user", "--preserve-credentials"] if os.getuid() else [])
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
