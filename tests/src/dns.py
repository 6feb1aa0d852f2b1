"""A name server that behaves badly on purpose, and a client that says what it was told. For the tests of names.

serve ADDRESS MODE IP LOG   answers every A query with IP; one line per query goes to LOG
    good | slow (a second late) | dead (never) | servfail | refused | nxdomain | nodata | truncated (whole over TCP only)
    | forged (first with a wrong number and a wrong question) | stale (good, as long as LOG.dead is not there)
ask NAME TYPE [tcp|plain|raw]   one query to 127.0.0.11: prints the code and the sorted answers (raw: as they came), or
                            "silence"; several, with "," between them, are asked one after the other, a line for each
stream COUNT NAME FILE      queries one after the other as a C library does; prints how many failed and the longest wait
flood SECONDS               as many queries as possible, of names here and elsewhere, never reading an answer
loris COUNT SECONDS         TCP connections that send half a query, or a length and nothing
garbage COUNT               datagrams and streams that are no queries
send IP TEXT                 one datagram to port 53: prints what comes back
latency COUNT NAME          the 99th percentile of COUNT queries, in microseconds
"""
import os, random, socket, struct, sys, threading, time

HERE = ("127.0.0.11", 53)
KINDS = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}


def encode(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".") if l) + b"\0"


def query(name, kind, edns=True):
    number = random.randrange(65536)
    options = b"\0\0\x29\x10\0\0\0\0\0\0\0" if edns else b""
    head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, int(edns))
    return number, head + encode(name) + struct.pack(">HH", KINDS[kind], 1) + options


def name_at(data, at):
    labels, end = [], None
    while data[at]:
        if data[at] >= 0xC0:
            end = end or at + 2
            at = (data[at] & 0x3F) << 8 | data[at + 1]
            continue
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels), end or at + 1


def answers(data):
    _, at = name_at(data, 12)
    at += 4
    found = []
    for _ in range(struct.unpack(">H", data[6:8])[0]):
        _, at = name_at(data, at)
        kind, _, _, size = struct.unpack(">HHIH", data[at : at + 10])
        at += 10
        if kind == 1:
            found.append(socket.inet_ntoa(data[at : at + size]))
        elif kind == 28:
            found.append(socket.inet_ntop(socket.AF_INET6, data[at : at + size]))
        elif kind == 12:
            found.append(name_at(data, at)[0])
        at += size
    return found


def ask(name, kind, tcp=False, wait=5.0, edns=True):
    number, message = query(name, kind, edns)
    if tcp:
        s = socket.create_connection(HERE, wait)
        s.sendall(struct.pack(">H", len(message)) + message)
        f = s.makefile("rb")
        data = f.read(struct.unpack(">H", f.read(2))[0])
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(HERE)
        s.settimeout(wait)
        s.send(message)
        data = s.recv(65536)
    assert struct.unpack(">H", data[:2])[0] == number, "number"
    return data


def serve(address, mode, ip, log):
    out = open(log, "a", buffering=1)

    def reply(data, tcp):
        name, end = name_at(data, 12)
        out.write(f"{'tcp' if tcp else 'udp'} {name}\n")
        question = data[12 : end + 4]
        kind = struct.unpack(">H", data[end : end + 2])[0]
        code = {"servfail": 2, "nxdomain": 3, "refused": 5}.get(mode, 0)
        good = code == 0 and mode != "nodata" and kind == 1
        flags = 0x8180 | code
        if mode == "truncated" and not tcp:
            flags, good = flags | 0x0200, False
        count = 60 if mode == "truncated" and tcp else 1
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(ip)
        head = data[:2] + struct.pack(">HHHHH", flags, 1, count if good else 0, 0, 0)
        return head + question + (record * count if good else b"")

    def over_tcp():
        listener = socket.create_server((address, 53))
        while True:
            s, _ = listener.accept()
            f = s.makefile("rb")
            size = f.read(2)
            if size:
                data = reply(f.read(struct.unpack(">H", size)[0]), True)
                s.sendall(struct.pack(">H", len(data)) + data)
            s.close()

    threading.Thread(target=over_tcp, daemon=True).start()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    print("ready", flush=True)
    while True:
        data, client = s.recvfrom(4096)
        answer = reply(data, False)
        if mode == "dead" or (mode == "stale" and os.path.exists(log + ".dead")):
            continue
        if mode == "forged":
            s.sendto(bytes([answer[0] ^ 1]) + answer[1:], client)
            s.sendto(answer[:13] + b"\x00" + answer[14:], client)
        if mode == "slow":
            threading.Timer(1.0, s.sendto, (answer, client)).start()
        else:
            s.sendto(answer, client)


def stream(count, name, path):
    failed, longest, done = 0, 0.0, 0
    while done < count and not os.path.exists(path + ".end"):
        begin = time.monotonic()
        for _ in range(2):
            try:
                ok = bool(answers(ask(name, "A", wait=5.0)))
                break
            except OSError:
                ok = False
        failed += not ok
        longest = max(longest, time.monotonic() - begin)
        done += 1
        with open(path, "w") as f:
            f.write(str(done))
    print(done, failed, int(longest * 1000))


def flood(seconds):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setblocking(False)
    end = time.monotonic() + seconds
    some = [query(n, "A")[1] for n in ("self", "elsewhere.test", "other.example", "x.y.z")]
    while time.monotonic() < end:
        for message in some:
            try:
                s.sendto(message, HERE)
            except OSError:
                pass


def loris(count, seconds):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    for i in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(HERE)
        held.append(s)
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        for i, s in enumerate(held):
            try:
                s.send([b"\0", b"\xff\xff", b"\0\x20ab", b"\0\0"][i % 4])
            except OSError:
                pass
        time.sleep(0.2)


def garbage(count):
    for i in range(count):
        data = os.urandom(random.randrange(0, 200))
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(data, HERE)
        s.sendto(b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + data, HERE)
        if i % 10 == 0:
            t = socket.create_connection(HERE, 5)
            try:
                t.sendall(struct.pack(">H", random.randrange(65536)) + data)
            except OSError:
                pass
            t.close()


def latency(count, name):
    times = []
    for _ in range(count):
        begin = time.monotonic()
        assert answers(ask(name, "A")), "no answer"
        times.append(time.monotonic() - begin)
        time.sleep(0.002)
    times.sort()
    print(int(times[len(times) * 99 // 100] * 1e6))


def say(words):
    try:
        data = ask(words[0], words[1], "tcp" in words, edns="plain" not in words)
    except OSError:
        print("silence")
        return
    cut = " cut" if data[2] & 2 else ""
    found = answers(data)
    print(f"{data[3] & 15}{cut}", *(found if "raw" in words else sorted(found)))


def main(words):
    verb, rest = words[0], words[1:]
    if verb == "serve":
        serve(*rest)
    elif verb == "ask":
        while rest:
            end = rest.index(",") if "," in rest else len(rest)
            say(rest[:end])
            rest = rest[end + 1 :]
    elif verb == "stream":
        stream(int(rest[0]), rest[1], rest[2])
    elif verb == "send":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(2)
        s.sendto(rest[1].encode(), (rest[0], 53))
        print(s.recv(4096).decode())
    elif verb == "latency":
        latency(int(rest[0]), rest[1])
    elif verb == "loris":
        loris(int(rest[0]), float(rest[1]))
    else:
        {"flood": flood, "garbage": garbage}[verb](*(float(r) if verb == "flood" else int(r) for r in rest))


main(sys.argv[1:])
