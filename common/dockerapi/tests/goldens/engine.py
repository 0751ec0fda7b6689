"""What the recorders share: a call to an engine's socket, and an exchange written down with ids, times and tokens replaced
by fixed ones of the same form."""
import http.client, json, re, socket, time

out = None  # where exchanges are written; the recorder sets it
V = "/v1.41"


class Engine(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def call(sock, method, path, body=None, headers=None):
    engine = Engine(sock)
    data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
    engine.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
    answer = engine.getresponse()
    return answer, answer.read()


seen = {}


def stand_in(kind, text, width):
    known = seen.setdefault(kind, {})
    if text not in known:
        known[text] = f"{kind}{len(known) + 1}".ljust(width, "0")
    return known[text]


def scrub(text):
    text = re.sub(r"SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}", lambda m: "SWMTKN-1-" + stand_in("d", m[0][9:59], 50) + "-" + stand_in("s", m[0][60:], 25), text)
    text = re.sub(r"\b(?!sha256)[0-9a-f]{64}\b", lambda m: stand_in("c", m[0], 64) if m[0] not in digests else m[0], text)
    text = re.sub(r"\b(?=[a-z0-9]*[0-9])(?=[a-z0-9]*[g-z])[a-z0-9]{25}\b(?!=)", lambda m: stand_in("id", m[0], 25), text)
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "2024-05-06T07:08:09.123456789Z", text)
    return text


digests = set()


def record(name, sock, method, path, body=None, headers=None):
    answer, data = call(sock, method, path, body, headers)
    text = data.decode()
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    shown = {"request": f"{method} {path}", "status": answer.status, "body": content}
    if body is not None:
        shown["sent"] = body
    if name == "ping":
        shown["headers"] = {k: v for k, v in answer.getheaders() if k not in ("Date", "Content-Length")}
    (out / f"{name}.json").write_text(scrub(json.dumps(shown, indent=1, ensure_ascii=False)) + "\n")
    return content


def until(condition):
    for _ in range(120):
        if condition():
            return
        time.sleep(0.5)
    raise SystemExit("the engine did not settle")


def keep_digests(sock):
    """Digests of images are the same everywhere and stay as they are."""
    for image in json.loads(call(sock, "GET", f"{V}/images/json")[1]):
        digests.add(image["Id"].split(":")[1])
